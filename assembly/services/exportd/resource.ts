// SPDX-License-Identifier: Apache-2.0
// Owns: what the three signals of this service share: entries of one resource and one scope at a time, as runs of neighbours, in a request.
// Invariant: what is open is closed in order; a request always has room left to close what is open. Limits: CLOSE_BYTES for closing, which
// the writers' capacity leaves free until then; names of services as the image has them, else `id-` and 16 hexadecimal digits.
import { serviceName } from "../../gen/services";
import { writeHex } from "../../lib/bounded/text";
import { RESOURCE_ATTRIBUTE, PbWriter, attrLiteral, attrText, openResource, openResourceEntry } from "../../lib/otlp/index";

/** Version of the scopes that exportd writes. */
export const SCOPE_VERSION: string = "0.1.0";
/** Tags, lengths and the last fields of what may be open: far below this. */
export const CLOSE_BYTES: u32 = 64;
const unknown: usize = memory.data<u8>([105, 100, 45, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48]);
const UNKNOWN_BYTES: u32 = 19;

/** `key` = the name of the service with this id; 0 is the kernel. */
export function attrService(w: PbWriter, key: string, id: u64): void {
  const name = id == 0 ? "kernel" : serviceName(id);
  if (name.length != 0) {
    attrLiteral(w, RESOURCE_ATTRIBUTE, key, name);
    return;
  }
  writeHex(unknown + 3, id, 16);
  attrText(w, RESOURCE_ATTRIBUTE, key, unknown, UNKNOWN_BYTES);
}

/** Opens the entry of a service as a resource of its own: `service.name`. Returns the entry's start, for close. */
export function openServiceEntry(w: PbWriter, id: u64): u32 {
  const entry = openResourceEntry(w);
  const resource = openResource(w);
  attrService(w, "service.name", id);
  w.close(resource);
  return entry;
}
