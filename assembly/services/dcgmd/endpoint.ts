// SPDX-License-Identifier: Apache-2.0
// Owns: whether a text is the address of a DCGM engine; the rules are those of runtime/bridge/endpoint.ts, and
// tests/vectors/receiver-config.json holds the two together.
// Invariant: an address with a user or password is refused (DCGM has none). Limits: a socket's path of UNIX_PATH_BYTES_MAX bytes.
import { literalByte, startsWithLiteral } from "../../lib/bounded/text";

const UNIX_PATH_BYTES_MAX: u32 = 107;
const SCHEME_BYTES: u32 = 7;
const SLASH: u8 = 47;
const COLON: u8 = 58;
const AT: u8 = 64;
const OPEN: u8 = 91;
const CLOSE: u8 = 93;

/** True for host:port, [ipv6]:port and unix:///path. */
export function isEndpoint(text: usize, bytes: u32): bool {
  for (let i: u32 = 0; i < bytes; i++) if (load<u8>(text + i) == AT) return false;
  if (startsWithLiteral(text, bytes, "unix:")) {
    if (!startsWithLiteral(text, bytes, "unix://")) return false;
    const pathBytes = bytes - SCHEME_BYTES;
    return pathBytes >= 2 && pathBytes <= UNIX_PATH_BYTES_MAX && load<u8>(text + SCHEME_BYTES) == SLASH;
  }
  const host = hostBytes(text, bytes);
  return host != 0 && host < bytes && load<u8>(text + host) == COLON && isPort(text + host + 1, bytes - host - 1);
}

/** Length of the host at the front, 0 when there is none. */
function hostBytes(text: usize, bytes: u32): u32 {
  if (bytes == 0) return 0;
  if (load<u8>(text) != OPEN) {
    let at: u32 = 0;
    while (at < bytes && !endsHost(load<u8>(text + at))) at++;
    return at;
  }
  let at: u32 = 1;
  while (at < bytes && isAddressByte(load<u8>(text + at))) at++;
  return at > 1 && at < bytes && load<u8>(text + at) == CLOSE ? at + 1 : 0;
}

/** What a plain host cannot hold: a colon, a bracket, a slash, a blank. */
function endsHost(byte: u8): bool {
  return byte == COLON || byte == OPEN || byte == CLOSE || byte == SLASH || byte == 32;
}

/** Hexadecimal digits, colons, dots: what an IPv6 address is written with. */
function isAddressByte(byte: u8): bool {
  const allowed = "0123456789abcdefABCDEF:.";
  for (let i: u32 = 0; i < <u32>allowed.length; i++) if (byte == literalByte(allowed, i)) return true;
  return false;
}

function isPort(digits: usize, bytes: u32): bool {
  let port: u32 = 0;
  for (let i: u32 = 0; i < bytes; i++) {
    const digit = <u32>load<u8>(digits + i) - 48;
    if (digit > 9) return false;
    port = min<u32>(port * 10 + digit, 65_536);
  }
  return bytes != 0 && port >= 1 && port <= 65_535;
}
