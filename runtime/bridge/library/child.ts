// SPDX-License-Identifier: Apache-2.0
// Owns: the process that holds a GPU library: requests from the bridge in, replies out, one at a time.
// Invariant: it ends when its bridge is gone, on SIGTERM, and when the library does not return: always within library_stop_ms_max,
// by SIGKILL to itself if nothing else helps (process.exit would wait for a blocked call). It writes nothing but frames to the bridge;
// what the library prints goes to stdout and stderr. Limits: one library, one session.
import { Socket } from 'node:net';
import { FrameDecoder, encodeFrame, type Frame } from '../codec.js';
import { DcgmSource } from '../dcgm/source.js';
import { DEFAULT_ENDPOINT, parseEndpoint } from '../endpoint.js';
import { NvmlSource } from '../nvml/source.js';
import { limit } from '../protocol.js';
import { Dialogue, systemClock } from '../session.js';
import type { Source } from '../source.js';
import { LINK_FD, stateFrame, type ChildConfig } from './link.js';

const config = JSON.parse(process.argv[2] ?? '{}') as ChildConfig;
const link = new Socket({ fd: LINK_FD, readable: true, writable: true });
const die = (): never => { process.kill(process.pid, 'SIGKILL'); throw new Error('not reached'); };

let current = '';
const hooks = {
  state(name: string, detail: string): void {
    if (current === `${name} ${detail}`) return;
    current = `${name} ${detail}`;
    link.write(encodeFrame(stateFrame({ name, detail })));
  },
  abandon(state: string, detail: string): void {
    hooks.state(state, detail);
    link.end(() => { die(); });
    setTimeout(die, limit('library_cancel_ms_max'));
  },
};

function makeSource(): Source & { stop(): Promise<void> } {
  const library = config.library === undefined ? {} : { library: config.library };
  if (config.source === 'nvml') return new NvmlSource(library, hooks);
  const endpoint = parseEndpoint(config.endpoint ?? DEFAULT_ENDPOINT);
  return new DcgmSource({ mode: config.mode ?? 'standalone', endpoint, ...library }, hooks);
}

const source = makeSource();
const dialogue = new Dialogue(source, systemClock, (line) => { console.error(line); });
const decoder = new FrameDecoder();
let answered: Promise<void> = Promise.resolve();
let stopping = false;

async function answer(request: Frame): Promise<void> {
  if (stopping) return;
  const reply = await dialogue.answer(request);
  if (!stopping) link.write(encodeFrame(reply));
}

async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  setTimeout(die, limit('library_stop_ms_max'));
  try {
    await source.stop();
  } finally {
    process.exit(0);
  }
}

link.on('data', (chunk) => {
  for (const frame of decoder.push(chunk as Buffer)) answered = answered.then(() => answer(frame));
});
link.on('error', () => { void stop(); });
link.on('close', () => { void stop(); });
link.on('end', () => { void stop(); });
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => { if (signal === 'SIGTERM') void stop(); });
hooks.state('starting', 'no request yet');
