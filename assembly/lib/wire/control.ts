// SPDX-License-Identifier: Apache-2.0
// Owns: the payloads of the host's own questions on the control port (docs/format/control.md), framed as in bridge.ts.
// Invariant: the first byte of every reply is a BRIDGE_STATUS; what follows is there only when it is BRIDGE_STATUS_OK.
// Limits: names and pages as below; a reply fits limits.portd tx_buffer_bytes.

/** LOGS request: after u64 (record id), max u16. Reply: status u8, total u64, dropped u64, count u16, logd's records. */
export const CONTROL_LOGS_REQUEST_BYTES: u32 = 10;
/** SERIES request: cursor u32, max u16. Reply: status u8, then the body of metricsd's SNAPSHOT. */
export const CONTROL_SERIES_REQUEST_BYTES: u32 = 6;
/**
 * STATUS request: count u8, then count times name_len u8, name. Reply: status u8, time_ns u64, counters u8, that many u64
 * (abi/counters.toml, machine scope, in order), ports u8, for each name_len u8, name and 49 bytes of port statistics,
 * services u8, for each of the request's names registered u8, dead u8, registrations u32.
 */
export const CONTROL_NAMES_MAX: u32 = 32;
export const CONTROL_NAME_BYTES_MAX: u32 = 31;
/** Machine counters in a STATUS reply: free_frames, endpoints, queued_messages, dropped_replies, running, preemptions. */
export const CONTROL_COUNTERS: u32 = 6;
