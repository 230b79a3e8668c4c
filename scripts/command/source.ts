// SPDX-License-Identifier: Apache-2.0
// Opens the source that a configuration names and asks it once, as the guest would.
// Invariant: the source is stopped whatever happens; identities leave as the configuration says (hashed or not). A source that cannot
// be had is exit code 3 with its degraded state's name.
import { setTimeout as sleep } from 'node:timers/promises';
import { makeAnswerer } from '../../runtime/bridge/choose.js';
import { BridgeClient } from '../../runtime/bridge/client.js';
import { withHashedIdentities } from '../../runtime/bridge/identities.js';
import { withFixture } from '../../runtime/bridge/index.js';
import { inspectSource, type Inspection } from '../../runtime/bridge/inspect.js';
import { SourceError } from '../../runtime/bridge/source.js';
import { sourceOptions } from '../../runtime/config/source.js';
import type { Config } from '../../runtime/config/schema.js';
import { infra } from '../lib/fail.js';
import { saltOf } from './config.js';

/** A sample older than this is stale: two intervals and what a read may take (dcgmd's rule). */
const STALE_SLACK_MS = 10_000;
export const staleMsOf = (config: Config): number => 2 * config.receivers.dcgm.collectionIntervalMs + STALE_SLACK_MS;

export type Asked = Inspection & { readonly state: { readonly name: string; readonly detail: string } };

/** @param fieldIds none: entities alone @throws Failure 3 when the source cannot be had */
export async function askSource(config: Config, fieldIds: readonly number[]): Promise<Asked> {
  const salt = saltOf(config);
  const inner = await makeAnswerer(withFixture(sourceOptions(config)))
    .catch((error: unknown) => infra(`source: ${(error as Error).message}`));
  const answerer = salt === undefined ? inner : withHashedIdentities(inner, salt);
  try {
    const found = await inspectSource(new BridgeClient(answerer), { fieldIds, staleMs: staleMsOf(config), sleep, nowMs: Date.now });
    return { ...found, state: answerer.state() };
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    const { name, detail } = answerer.state();
    const state = name === 'ready' ? error.message : `${name}${detail === '' ? '' : `: ${detail}`}`;
    return infra(`source ${answerer.label} cannot be had: ${state} (vigil receivers list tries them all)`);
  } finally {
    await answerer.stop();
  }
}
