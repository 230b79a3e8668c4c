// SPDX-License-Identifier: Apache-2.0
// Owns: which source a bridge gets: the one named, or with `auto` DCGM where an engine with a GPU answers, else the driver's own library
// where it shows a GPU, else whichever of the two was meant, degraded; a replay where nothing points to a GPU. And what each source says
// when it is tried.
// Invariant: nothing is passed off as something else: the label of what was chosen is the label of what answers. A source that was named
// and cannot be had is kept, and says why; `auto` decides once, when it starts. Limits: each try as long as a start and three requests.
import { existsSync } from 'node:fs';
import { LocalAnswerer, type Answerer } from './answerer.js';
import { BridgeClient } from './client.js';
import { parseEndpoint } from './endpoint.js';
import type { ChildConfig } from './library/link.js';
import { Supervisor } from './library/supervisor.js';
import { ReplaySource, loadCapture } from './sources/replay.js';
import { ScriptedSource } from './sources/scripted.js';
import { StubSource } from './sources/stub.js';

export const SOURCES = ['dcgm', 'replay', 'stub', 'nvml'] as const;
export type SourceName = (typeof SOURCES)[number];

export interface SourceOptions {
  readonly source?: SourceName | 'auto';
  /** dcgm: `host:port` or `unix:///path`, and where the engine runs. */
  readonly endpoint?: string; readonly mode?: 'standalone' | 'embedded';
  /** Path of libdcgm or libnvidia-ml, instead of its soname. */
  readonly library?: string;
  /** replay: a capture file, or a scripted node. */
  readonly fixture?: string; readonly fleet?: string; readonly scenario?: string;
  readonly log?: (line: string) => void;
}

/** What a try of one source showed. */
export interface Probe { readonly source: SourceName; readonly usable: boolean; readonly detail: string }

/** Device nodes of which a machine with the driver has one. */
const DEVICE_NODES = ['/dev/nvidiactl', '/dev/dxg'];
export const hasDriver = (): boolean => DEVICE_NODES.some((path) => existsSync(path));

/**
 * Makes the source that the options name, started. `auto` ends in a replay only where nothing points to a GPU: no endpoint, no mode and no
 * device node of the driver (`driver`). Else what cannot be had yet is kept, and recovers by itself when its engine or driver comes up.
 * Throws Error when its options are wrong.
 */
export async function makeAnswerer(options: SourceOptions, driver = hasDriver()): Promise<Answerer> {
  const source = options.source ?? 'auto';
  if (source !== 'auto') return makeNamed(source, options);
  const said = options.endpoint !== undefined || options.mode !== undefined;
  if (!driver && !said) return makeNamed('replay', options);
  let last: 'dcgm' | 'nvml' = said ? 'dcgm' : 'nvml';
  for (const name of ['dcgm', 'nvml'] as const) {
    const answerer = await makeNamed(name, options);
    const probe = await tryOut(name, answerer);
    if (probe.usable) return answerer;
    if (name === 'dcgm' && answerer.state().name !== 'library_absent') last = 'dcgm';
    await answerer.stop();
    options.log?.(`bridge: ${name} is not used: ${probe.detail}`);
  }
  const why = said ? 'the options name an engine' : 'the driver is here';
  options.log?.(`bridge: ${last} is kept until it answers: ${why}, so nothing is replayed`);
  return makeNamed(last, options);
}

async function makeNamed(source: SourceName, options: SourceOptions): Promise<Answerer> {
  if (source === 'stub') return new LocalAnswerer(new StubSource());
  if (source === 'replay') return new LocalAnswerer(makeReplay(options));
  if (options.endpoint !== undefined) parseEndpoint(options.endpoint); // the child would say it too late
  const { endpoint, mode, library } = options;
  const config: ChildConfig = { source, ...(source === 'dcgm' ? { endpoint, mode } : {}), library: libraryOf(source, library) };
  const supervisor = new Supervisor(config, options.log);
  await supervisor.start();
  return supervisor;
}

/** The library that an option or the environment names for a source; undefined: its soname. */
export function libraryOf(source: 'dcgm' | 'nvml', library?: string): string | undefined {
  return library ?? process.env[source === 'dcgm' ? 'VIGIL_DCGM_LIBRARY' : 'VIGIL_NVML_LIBRARY'];
}

function makeReplay({ fixture, fleet, scenario }: SourceOptions): ReplaySource | ScriptedSource {
  if (fleet !== undefined || scenario !== undefined) {
    if (fixture !== undefined) throw new Error('a replay is a capture file or a scripted node, not both');
    return new ScriptedSource(fleet ?? 'h100x8', scenario ?? 'steady');
  }
  if (fixture === undefined) throw new Error('replay needs a capture file or a fleet');
  return new ReplaySource(loadCapture(fixture));
}

/** Connects, lists, and leaves: usable means that an entity was there. */
async function tryOut(source: SourceName, answerer: Answerer): Promise<Probe> {
  const client = new BridgeClient(answerer);
  try {
    await client.connect();
    const version = await client.version();
    const entities = await client.enumerate();
    await client.close();
    const gpus = entities.filter(({ group }) => group === 1).length;
    const usable = entities.length > 0;
    return { source, usable, detail: usable ? `${gpus} GPUs, ${entities.length} entities; ${version}` : 'no entity' };
  } catch (error) {
    const { name, detail } = answerer.state();
    return { source, usable: false, detail: name === 'ready' ? (error as Error).message : `${name}${detail === '' ? '' : `: ${detail}`}` };
  }
}

/** Tries every source, each in its own process where it has one. */
export async function probeSources(options: SourceOptions): Promise<Probe[]> {
  return Promise.all(SOURCES.map(async (source) => {
    const answerer = await makeNamed(source, options);
    try {
      return await tryOut(source, answerer);
    } finally {
      await answerer.stop();
    }
  }));
}

/** `dcgm [NAME]` a line, what can be had first; the legend says what the brackets are. */
export function renderProbes(probes: readonly Probe[]): string {
  const lines = [...probes].sort((a, b) => Number(b.usable) - Number(a.usable))
    .map(({ source, usable, detail }) => `dcgm [${source}]${' '.repeat(8 - source.length)}${usable ? 'usable' : 'not usable'}: ${detail}`);
  return `# receiver [source of its samples]; only [dcgm] and [nvml] show this machine\n${lines.join('\n')}\n`;
}
