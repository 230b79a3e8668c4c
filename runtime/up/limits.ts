// SPDX-License-Identifier: Apache-2.0
// Owns: the bounds of `vigil up`, read once from abi/limits.toml [up]. Invariant: no other file of runtime/up holds a bound of its own.
// Limits: these.
import { limit, loadAbi } from '../../scripts/lib/abi.js';

const abi = loadAbi();

export const UP = {
  /** from QEMU's start to the guest's first answer */
  bootLimitMs: limit(abi, 'up', 'boot_limit_ms'),
  /** between a PANIC line and SIGKILL */
  panicGraceMs: limit(abi, 'up', 'panic_grace_ms'),
  /** a guest that ran for so long starts the back-off anew */
  steadyMs: limit(abi, 'up', 'steady_ms'),
  /** between SIGTERM and SIGKILL at the end */
  stopGraceMs: limit(abi, 'up', 'stop_grace_ms'),
  /** for what waits for the collector, at the end */
  closeGraceMs: limit(abi, 'up', 'close_grace_ms'),
  transcriptsMax: limit(abi, 'up', 'transcripts_max'),
  transcriptBytesMax: limit(abi, 'up', 'transcript_bytes_max'),
  relayClientsMax: limit(abi, 'up', 'relay_clients_max'),
  relayReplyWaitMs: limit(abi, 'up', 'relay_reply_wait_ms'),
  onceSlackMs: limit(abi, 'up', 'once_slack_ms'),
  historyPointsMax: limit(abi, 'up', 'history_points_max'),
} as const;
