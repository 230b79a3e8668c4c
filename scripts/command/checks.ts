// SPDX-License-Identifier: Apache-2.0
// What `vigil doctor` looks at beside the tools of a build: the GPU's driver and libraries, the engine, ports, sockets, and who else is
// there. Invariant: changes nothing; each check says what was found and, where it can be mended, how. Limits: CONNECT_MS a connection,
// PROCESSES_MAX processes; a process that may not be looked at is passed over, so an empty list of neighbours is no proof.
import { accessSync, constants, existsSync, readFileSync, readdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname } from 'node:path';
import { hasDriver, probeSources } from '../../runtime/bridge/choose.js';
import { parseEndpoint } from '../../runtime/bridge/endpoint.js';
import { withFixture } from '../../runtime/bridge/index.js';
import type { Config } from '../../runtime/config/schema.js';
import { sourceOptions } from '../../runtime/config/source.js';
import { parseListen } from '../../runtime/export/exporter.js';
import { targetsOf } from '../../runtime/up/targets.js';
import { EnvError } from '../../runtime/export/otlp/env.js';
import { readRunFile, runFileOf, statePathOf } from '../../runtime/up/run-file.js';

/** `needed`: without it what the configuration asks for does not work; `mend`: what to do, or null. */
export interface Check {
  readonly name: string; readonly ok: boolean; readonly needed: boolean; readonly found: string; readonly mend: string | null;
}

const CONNECT_MS = 1_000;
const PROCESSES_MAX = 65_536;
/** Programs that have an engine of their own or use one. */
const NEIGHBOURS = ['nv-hostengine', 'dcgm-exporter', 'dcgmi', 'dcgmproftester', 'nvidia_gpu_exporter', 'nvidia-smi'];

const SHARED_PROFILER =
  'before Hopper one user a host has the profiling fields: let both use one nv-hostengine, or say profiling = "disabled" here or there';

/** null: it answered; else why not. */
function reach(to: { path: string } | { host: string; port: number }): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect(to);
    const done = (why: string | null): void => { socket.destroy(); resolve(why); };
    socket.setTimeout(CONNECT_MS, () => { done(`no answer in ${CONNECT_MS} ms`); });
    socket.once('connect', () => { done(null); });
    socket.once('error', (error: NodeJS.ErrnoException) => { done(error.code ?? error.message); });
  });
}

function hostPort(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(':');
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
}

function driver(config: Config): Check {
  const ok = hasDriver();
  const needed = ['nvml'].includes(config.source.kind) || (config.source.kind === 'dcgm' && config.receivers.dcgm.mode === 'embedded');
  return { name: 'GPU driver', ok, needed, found: ok ? 'its device nodes are there' : 'no device node of it',
    mend: ok ? null : 'install the NVIDIA driver (in a container: pass the GPUs in)' };
}

/** The configuration says an engine: dcgm by name, or for auto an endpoint or a mode, with which auto never replays. */
function saysEngine(config: Config): boolean {
  const { endpoint, mode } = sourceOptions(config);
  return endpoint !== undefined || mode !== undefined;
}

/** What the libraries of the vendor say. */
async function libraries(config: Config): Promise<Check[]> {
  const { library, kind } = config.source;
  if (library !== '') process.env[kind === 'dcgm' ? 'VIGIL_DCGM_LIBRARY' : 'VIGIL_NVML_LIBRARY'] = library;
  const { mode, endpoint } = config.receivers.dcgm;
  const probes = await probeSources(withFixture({ mode, ...(mode === 'standalone' ? { endpoint } : {}) }));
  const mends = { dcgm: 'install datacenter-gpu-manager-4-core, or name the library in source.library',
    nvml: 'it comes with the NVIDIA driver; or name it in source.library' };
  return (['dcgm', 'nvml'] as const).map((source) => {
    const probe = probes.find((one) => one.source === source)!;
    const needed = kind === source || (source === 'dcgm' && saysEngine(config));
    return { name: source === 'dcgm' ? 'libdcgm' : 'NVML', ok: probe.usable, needed,
      found: probe.detail, mend: probe.usable ? null : mends[source] };
  });
}

async function engine(config: Config): Promise<Check> {
  const { mode, endpoint } = config.receivers.dcgm;
  if (mode === 'embedded')
    return { name: 'nv-hostengine', ok: true, needed: false, found: 'embedded: the engine runs inside the bridge', mend: null };
  const { address, unixSocket } = parseEndpoint(endpoint);
  const why = await reach(unixSocket ? { path: address } : hostPort(address));
  return {
    name: 'nv-hostengine', ok: why === null, needed: saysEngine(config),
    found: why === null ? `answers at ${endpoint}` : `${endpoint}: ${why}`,
    mend: why === null ? null : 'start it (systemctl start nvidia-dcgm), or say receivers.dcgm.endpoint or mode = "embedded"',
  };
}

/** Where OTLP goes, by the file and the environment. */
async function collector(config: Config): Promise<Check> {
  const name = 'OTLP collector';
  try {
    const targets = Object.values(targetsOf(config.exporters.otlp)).filter((target) => target !== null);
    const urls = [...new Set(targets.map(({ url }) => new URL(url).origin))];
    if (urls.length === 0) return { name, ok: true, needed: false, found: 'none is set: nothing is posted', mend: null };
    const reached = await Promise.all(urls.map(async (origin) => {
      const { hostname, port: at, protocol } = new URL(origin);
      const to = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(at) || (protocol === 'https:' ? 443 : 80) };
      return [origin, await reach(to)] as const;
    }));
    const ok = reached.every(([, why]) => why === null);
    const found = reached.map(([origin, why]) => `${origin}: ${why ?? 'answers'}`).join('; ');
    const mend = ok ? null : 'start it, or say exporters.otlp.endpoint; what is not posted in time is dropped and counted';
    return { name, ok, needed: false, found, mend };
  } catch (error) {
    if (!(error instanceof EnvError)) throw error;
    return { name, ok: false, needed: true, found: error.message, mend: 'correct or unset that variable' };
  }
}

/** Whether /metrics can be served where it is to be. */
function port(config: Config): Promise<Check> {
  const { listen } = config.exporters.prometheus;
  const name = 'metrics port';
  const found = readRunFile(runFileOf(config));
  if (found.state === 'running' && found.run.metricsUrl !== '') {
    return Promise.resolve({ name, ok: true, needed: true, found: `process ${found.run.pid} serves ${found.run.metricsUrl}`, mend: null });
  }
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      resolve({ name, ok: false, needed: true, found: `${listen}: ${taken ? 'another process has it' : (error.code ?? error.message)}`,
        mend: taken ? 'end that process (dcgm-exporter uses 9400 too), or say exporters.prometheus.listen'
          : 'say an address of this machine in exporters.prometheus.listen' });
    });
    server.listen(parseListen(listen), () => {
      server.close(() => { resolve({ name, ok: true, needed: true, found: `${listen} is free`, mend: null }); }); });
  });
}

async function kubelet({ attribution: { kubernetes: { enabled, socket } } }: Config): Promise<Check> {
  const name = 'kubelet socket';
  if (!existsSync(socket)) {
    return { name, ok: !enabled, needed: enabled, found: `${socket} is not there`,
      mend: enabled ? 'mount it into the container, or say attribution.kubernetes.socket' : null };
  }
  const why = await reach({ path: socket });
  if (why === null) return { name, ok: true, needed: enabled,
    found: enabled ? `${socket} answers` : `${socket} answers; attribution.kubernetes.enabled = true would add pods`, mend: null };
  return { name, ok: false, needed: enabled, found: `${socket}: ${why}`,
    mend: why === 'EACCES' ? 'run as a user who may read it (the kubelet makes it for root)' : 'see that the kubelet runs' };
}

function disk(config: Config): Check {
  const path = statePathOf(config);
  const folder = existsSync(path) ? path : existsSync(dirname(path)) ? dirname(path) : null;
  const name = "guest's disk";
  try {
    if (folder === null) return { name, ok: true, needed: true, found: `${path} will be made, with its folder`, mend: null };
    accessSync(folder, constants.R_OK | constants.W_OK);
    return { name, ok: true, needed: true, found: existsSync(path) ? path : `${path} will be made`, mend: null };
  } catch {
    return { name, ok: false, needed: true, found: `${folder} may not be written`,
      mend: 'say guest.state or VIGIL_STATE, or run as its owner' };
  }
}

/** Who else uses DCGM or the GPUs' counters, by the names of processes. */
function neighbours(): Check {
  const seen = new Map<string, number[]>();
  let pids: string[] = [];
  try {
    pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).slice(0, PROCESSES_MAX);
  } catch {
    return { name: 'neighbours', ok: true, needed: false, found: 'this system does not list its processes', mend: null };
  }
  for (const pid of pids) {
    try {
      const program = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')[0]!.split('/').at(-1)!;
      const name = NEIGHBOURS.find((one) => program === one || readFileSync(`/proc/${pid}/comm`, 'latin1').trim() === one.slice(0, 15));
      if (name !== undefined) seen.set(name, [...(seen.get(name) ?? []), Number(pid)]);
    } catch {
      // it ended while we looked, or may not be looked at
    }
  }
  const found = [...seen].map(([name, ids]) => `${name} (${ids.join(', ')})`).join('; ') || 'nobody else was seen';
  const exporter = seen.has('dcgm-exporter');
  return {
    name: 'neighbours', ok: !exporter, needed: false, found,
    mend: exporter ? SHARED_PROFILER : null,
  };
}

/** Every check, in the order in which they are said. */
export async function operatorChecks(config: Config): Promise<Check[]> {
  const [found, ...rest] = await Promise.all([libraries(config), engine(config), port(config), collector(config), kubelet(config)]);
  return [driver(config), ...found, ...rest, disk(config), neighbours()];
}
