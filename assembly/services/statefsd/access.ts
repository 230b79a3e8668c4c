// SPDX-License-Identifier: Apache-2.0
// Which keys there are, and who may touch them: the area of a path by its longest prefix, and the capability that policyd is asked for.
// Invariant: every operation is decided by policyd for the kernel-stamped sender before anything is read or staged (writes that are staged
// together share a decision: decisions.ts); policyd silent, late or malformed denies (nexus-ipc delegateCheck). policyd audits each
// decision; a denial is also logged here with its path.
// Limits: areas are the ones below; keys of SF_KEY_BYTES_MAX bytes.
import {
  MUT_STATEFSD_ACCEPTS_ANY_KEY, MUT_STATEFSD_CRASH_OPEN, MUT_STATEFSD_DENIES_SILENTLY, MUT_STATEFSD_SKIPS_POLICY, mutant,
} from "../../gen/mutants";
import { startsWithLiteral } from "../../lib/bounded/text";
import { SenderId, delegateCheck } from "../../lib/nexus-ipc/index";
import { logWarn } from "../../lib/nexus-log/index";
import { DECISION_ALLOW, DECISION_NONE, decide, decided } from "./decisions";
import { SF_INVALID_KEY, SF_KEY_BYTES_MAX, SF_KEY_TOO_LONG, SF_OK } from "../../lib/wire/statefsd";

export const AREA_KEYSTORE: u32 = 0;
export const AREA_BOOT: u32 = 1;
export const AREA_CRASH: u32 = 2;
export const AREA_OBSERVABILITY: u32 = 3;
/** Everything else below /state/. */
export const AREA_OTHER: u32 = 4;

/** `/state/`, as its seven bytes are loaded. */
const STATE_SLASH: u64 = 0x2f65746174732f;
const SLASH: u8 = 47;
const DOT: u8 = 46;
export const LOGGED_PATH_BYTES: u32 = 128;

/** SF_OK for a key that statefsd stores, SF_KEY_TOO_LONG or SF_INVALID_KEY. */
export function checkKey(key: usize, length: u32): u32 {
  if (length > SF_KEY_BYTES_MAX) return SF_KEY_TOO_LONG;
  if (length == 0) return SF_INVALID_KEY;
  return load<u8>(key + length - 1) != SLASH && checkPath(key, length) ? SF_OK : SF_INVALID_KEY;
}

/** The same for what a key may begin with: `/state/` and any beginning of a valid rest. */
export function checkPrefix(prefix: usize, length: u32): u32 {
  if (length > SF_KEY_BYTES_MAX) return SF_KEY_TOO_LONG;
  return checkPath(prefix, length) ? SF_OK : SF_INVALID_KEY;
}

// `/state/` and components of [A-Za-z0-9._-]; none but the last may be empty, none is `.` or `..`.
function checkPath(path: usize, length: u32): bool {
  if (length < 7 || (load<u64>(path) & 0x00ff_ffff_ffff_ffff) != STATE_SLASH) return false;
  const end = path + length;
  let start = path + 7;
  for (let at = start; at < end; at++) {
    const c = load<u8>(at);
    if (load<u8>(keyBytes + c) != 0) continue;
    if (c != SLASH) {
      if (mutant(MUT_STATEFSD_ACCEPTS_ANY_KEY)) continue;
      return false;
    }
    if (at == start || isDots(start, <u32>(at - start))) return false;
    start = at + 1;
  }
  return !isDots(start, <u32>(end - start));
}

@inline function isDots(at: usize, bytes: u32): bool {
  return bytes <= 2 && bytes != 0 && load<u8>(at) == DOT && load<u8>(at + bytes - 1) == DOT;
}

/** 1 for each byte of a component: a key's bytes are looked up, not compared. */
const keyBytes: usize = memory.data(256);
function fillKeyBytes(): bool {
  for (let c: u32 = 0; c < 128; c++) {
    const letterOrDigit = (c | 32) - 97 < 26 || c - 48 < 10;
    store<u8>(keyBytes + c, letterOrDigit || c == DOT || c == 45 || c == 95 ? 1 : 0);
  }
  return true;
}
const filled: bool = fillKeyBytes();

/** The area of a checked path. */
export function areaOf(path: usize, length: u32): u32 {
  // The first letter behind /state/ rules out all areas but one.
  const c = length > 7 ? load<u8>(path + 7) : 0;
  if (c == 111 && startsWithLiteral(path, length, "/state/observability/")) return AREA_OBSERVABILITY;
  if (c == 107 && startsWithLiteral(path, length, "/state/keystore/")) return AREA_KEYSTORE;
  if (c == 98 && startsWithLiteral(path, length, "/state/boot/")) return AREA_BOOT;
  return c == 99 && startsWithLiteral(path, length, "/state/crash/") ? AREA_CRASH : AREA_OTHER;
}

function capability(area: u32, write: bool): string {
  if (area == AREA_KEYSTORE) return "statefs.keystore";
  if (area == AREA_BOOT) return "statefs.boot";
  if (area == AREA_CRASH) return "statefs.crash";
  if (area == AREA_OBSERVABILITY) return "statefs.observability";
  return write ? "statefs.write" : "statefs.read";
}

/** Whether policyd allows the sender to write or read in the area of `path` now. */
export function allowed(sender: SenderId, path: usize, length: u32, write: bool): bool {
  const area = areaOf(path, length);
  if (mutant(MUT_STATEFSD_CRASH_OPEN) && area == AREA_CRASH) return true;
  return asked(sender, capability(area, write), path, length);
}

/** The same for a write that will be staged: asked once for each sender and capability in one pass (decisions.ts). */
export function allowedToStage(sender: SenderId, path: usize, length: u32): bool {
  const area = areaOf(path, length);
  const known = decided(sender, area);
  if (known != DECISION_NONE) return known == DECISION_ALLOW;
  const allow = allowed(sender, path, length, true);
  decide(sender, area, capability(area, true), allow);
  return allow;
}

/** Whether policyd allows the sender to write in an area, whatever the path. */
export function allowedArea(sender: SenderId, area: u32): bool {
  return asked(sender, capability(area, true), 0, 0);
}

/** Whether policyd allows the sender what is not about a path. */
export function allowedCapability(sender: SenderId, name: string): bool {
  return asked(sender, name, 0, 0);
}

function asked(sender: SenderId, name: string, path: usize, length: u32): bool {
  if (mutant(MUT_STATEFSD_SKIPS_POLICY) || delegateCheck(sender, name)) return true;
  if (mutant(MUT_STATEFSD_DENIES_SILENTLY)) return false;
  const line = logWarn("statefsd").text("access denied").field("cap", name).fieldHex("subject", sender.value);
  line.fieldBytes("path", path, min<u32>(length, LOGGED_PATH_BYTES)).end();
  return false;
}
