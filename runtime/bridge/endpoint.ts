// SPDX-License-Identifier: Apache-2.0
// Owns: the address of a DCGM engine as a person writes it. Invariant: every refusal quotes what was written and says what would do.
// Limits: HOST:PORT (an IPv6 address in brackets), or unix:///PATH; DCGM has no password, so an address with one is refused.

/** `address` is what dcgmConnect_v2 takes. */
export interface Endpoint { readonly address: string; readonly unixSocket: boolean }

export const DEFAULT_ENDPOINT = 'localhost:5555';
const UNIX_PATH_BYTES_MAX = 107;

/** Parses an endpoint. Throws Error with one line that begins with `endpoint:`. */
export function parseEndpoint(text: string): Endpoint {
  const refuse = (why: string): never => { throw new Error(`endpoint: "${text}": ${why}`); };
  if (text.includes('@')) refuse('no user or password; DCGM has none');
  if (text.startsWith('unix:')) {
    const path = text.slice('unix://'.length);
    if (!text.startsWith('unix://') || !path.startsWith('/')) refuse('a socket needs three slashes: unix:///tmp/nv-hostengine');
    if (path.length < 2) refuse('the path is empty; for example unix:///tmp/nv-hostengine');
    if (Buffer.byteLength(path) > UNIX_PATH_BYTES_MAX) refuse(`a socket's path has at most ${UNIX_PATH_BYTES_MAX} bytes`);
    return { address: path, unixSocket: true };
  }
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]/\s]+):(\d+)$/.exec(text);
  if (match === null) return refuse('write host:port, [ipv6]:port or unix:///path');
  const port = Number(match[2]);
  if (port < 1 || port > 65_535) refuse(`port ${match[2]} is not in 1..65535`);
  return { address: text, unixSocket: false };
}
