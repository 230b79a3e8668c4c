// SPDX-License-Identifier: Apache-2.0
// Owns: the host's reading of abi/bridge.toml's receiver kinds, for people: what each kind of failure means.
// Invariant: the table is the one that the guest's constants come from. Limits: read once, at import.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'smol-toml';
import { z } from 'zod';

const row = z.object({ name: z.string(), degraded: z.boolean(), brief: z.string() });
const path = fileURLToPath(new URL('../../abi/bridge.toml', import.meta.url));

/** In the order of their codes. */
export const RECEIVER_KINDS = z.object({ receiver_kind: z.array(row).min(1) }).parse(parse(readFileSync(path, 'utf8'))).receiver_kind;
