// SPDX-License-Identifier: Apache-2.0
// Which QEMU versions the gate has been run on. Only what somebody ran is called tested; a version is broken for a named reason.
// An unlisted version is used, and the run says that it is untested.

export interface KnownVersion {
  version: string;
  note: string;
}

/** Versions on which the whole gate was green. */
export const QEMU_TESTED: readonly KnownVersion[] = [{ version: '7.2.22', note: 'Debian 12' }];

/** Every version below this one is refused: `-cpu rv64,sstc=on` does not exist there. */
export const QEMU_MIN: readonly [number, number] = [7, 2];

/** Single versions known to break the proof, with the reason. */
export const QEMU_BROKEN: readonly KnownVersion[] = [];

export type Verdict =
  | { kind: 'tested'; version: string }
  | { kind: 'untested'; version: string; message: string }
  | { kind: 'broken'; version: string; message: string };

/** Judges the first line of `qemu-system-riscv64 --version`. */
export function judgeVersion(banner: string, broken: readonly KnownVersion[] = QEMU_BROKEN): Verdict {
  const match = /version (\d+)\.(\d+)\.(\d+)/.exec(banner);
  if (match === null) return { kind: 'broken', version: 'unknown', message: `"${banner.trim()}" names no QEMU version` };
  const version = `${match[1]}.${match[2]}.${match[3]}`;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  if (major < QEMU_MIN[0] || (major === QEMU_MIN[0] && minor < QEMU_MIN[1])) {
    return { kind: 'broken', version, message: `QEMU ${version} is older than ${QEMU_MIN.join('.')} and lacks the sstc property` };
  }
  const reason = broken.find((known) => known.version === version);
  if (reason !== undefined) return { kind: 'broken', version, message: `QEMU ${version} is known not to work: ${reason.note}` };
  if (QEMU_TESTED.some((known) => known.version === version)) return { kind: 'tested', version };
  const tested = QEMU_TESTED.map((known) => known.version).join(', ');
  return { kind: 'untested', version, message: `QEMU ${version} is untested (tested: ${tested})` };
}
