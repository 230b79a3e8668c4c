// SPDX-License-Identifier: Apache-2.0
// Owns: a configuration's scripted node, played through the real path under Node: bridge frames, the guest's lib/gpu, OTLP, Prometheus families.
// Invariant: time is the test's own, so a minute of the node costs no minute; nothing between source and family is ours.
// Limits: what dcgmd and exportd do around lib/gpu (waiting, queues) is not in it but for taking a session up anew; one scrape an interval,
// and one in which the source refused is lost.
import { BridgeClient } from '../../runtime/bridge/client.js';
import { GROUP } from '../../runtime/bridge/catalog.js';
import { LocalAnswerer } from '../../runtime/bridge/answerer.js';
import { SourceError, type Sample } from '../../runtime/bridge/source.js';
import { ScriptedSource } from '../../runtime/bridge/sources/scripted.js';
import type { Config } from '../../runtime/config/schema.js';
import { buildFamilies } from '../../runtime/export/prometheus/families.js';
import { NOW_US, newGuest, type Guest, type Tally } from '../gpu/guest.js';

const SOURCE_REPLAY = 1;
const STATES = { disabled: 0, enabled: 1, auto: 2 } as const;

/** One series over the scrapes; null where a scrape did not have it. */
export interface Track { readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly values: (number | null)[] }
export interface Played { readonly intervalS: number; readonly scrapes: number; readonly tracks: readonly Track[]; readonly tallies: readonly Tally[] }

/** lib/gpu as dcgmd sets it up for this configuration. */
function configured(config: Config): Guest {
  const { dcgm } = config.receivers;
  const guest = newGuest();
  for (const [name, setting] of Object.entries(dcgm.metricFieldGroups)) {
    if (!guest.group(name, STATES[setting])) throw new Error(`group ${name} = ${setting}`);
  }
  for (const [name, most] of Object.entries(dcgm.groupBudgets)) guest.budget(name, most);
  if (!guest.seriesMax(dcgm.maxSeriesPerScrape) || !guest.intervalMs(dcgm.collectionIntervalMs)) throw new Error('cap or interval');
  return guest;
}

/** Plays `seconds` of the node that the configuration's source names; `scenario` instead of its own. */
export async function play(config: Config, seconds: number, scenario: string = config.source.scenario): Promise<Played> {
  const { collectionIntervalMs: stepMs, translation } = { ...config.receivers.dcgm, ...config.exporters.prometheus };
  let nowMs = 0;
  const wallNs = (): bigint => (NOW_US + BigInt(nowMs) * 1000n) * 1000n;
  const source = new ScriptedSource(config.source.fleet, scenario, () => nowMs);
  const client = new BridgeClient(new LocalAnswerer(source, { wallNs, monoNs: () => BigInt(nowMs) * 1_000_000n }));
  const guest = configured(config);
  /** Connect, enumerate, watch: what dcgmd does at its start and after an answer that voids what it has. */
  const begin = async (): Promise<number> => {
    await client.connect();
    const entities = await client.enumerate();
    guest.enumerate(entities);
    // dcgmd does not take the samples of compute instances: their instance has the same fields.
    const asked = entities.filter(({ group }) => group !== GROUP.computeInstance).map(({ group, id }) => ({ group, id }));
    return client.watch({ updateUs: BigInt(stepMs) * 1000n, keepS: 30, fieldIds: guest.watchList(), entities: asked });
  };
  /** The values; null for a scrape in which the engine was away or the entities had changed. */
  const values = async (): Promise<Sample[] | null> => {
    try {
      watch ??= await begin();
      return await client.latestValues(watch);
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      await client.close();
      watch = null;
      return null;
    }
  };
  let watch: number | null = null;
  const tracks = new Map<string, Track>();
  const tallies: Tally[] = [];
  const scrapes = Math.floor((seconds * 1000) / stepMs) + 1;
  for (let scrape = 0; scrape < scrapes; scrape++, nowMs += stepMs) {
    const samples = await values();
    if (samples === null) continue;
    tallies.push(guest.scrape(samples, NOW_US + BigInt(nowMs) * 1000n, SOURCE_REPLAY));
    const { families, duplicates, conflicts } = buildFamilies(guest.resources(), { translation, promote: [] });
    if (duplicates + conflicts > 0) throw new Error(`${duplicates} duplicates, ${conflicts} conflicts`);
    for (const { name, samples } of families) {
      for (const { suffix, labels, value } of samples) {
        const key = `${name}${suffix}${JSON.stringify(labels)}`;
        const track = tracks.get(key) ?? { name: name + suffix, labels, values: [] };
        while (track.values.length < scrape) track.values.push(null);
        track.values.push(value);
        tracks.set(key, track);
      }
    }
  }
  for (const { values } of tracks.values()) while (values.length < scrapes) values.push(null);
  return { intervalS: stepMs / 1000, scrapes, tracks: [...tracks.values()], tallies };
}

/** A track as promtool's input series: a series that ended is stale once, then absent. */
export function inputSeries({ name, labels, values }: Track): { series: string; values: string } {
  const all = { ...labels, instance: 'node-1', job: 'vigil' };
  const text = Object.entries(all).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(',');
  const cells = values.map((value, i) => (value !== null ? String(value) : i > 0 && values[i - 1] !== null ? 'stale' : '_'));
  return { series: `${name}{${text}}`, values: cells.join(' ') };
}
