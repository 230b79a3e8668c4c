// SPDX-License-Identifier: Apache-2.0
// QEMU's command line, word for word, for each machine; the versions table; variables that contradict a profile.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOOT_ARGS_BYTES_MAX, bootArgs, qemuArgv, socketsIn, type MachineSpec } from '../../boot/machines.js';
import { refuseContradictions } from '../../boot/topology.js';
import { judgeVersion } from '../../boot/versions.js';
import { limit, loadAbi } from '../../scripts/lib/abi.js';

const spec: MachineSpec = {
  transport: 'modern', mode: 'gate', kernelPath: 'K', bundlePath: 'B', append: 'A', sockets: socketsIn('/d'), console: 'pty', devices: true,
};
const line = (change: Partial<MachineSpec>): string => qemuArgv({ ...spec, ...change }).join(' ');

const HEAD = '-M virt -cpu rv64,sstc=on,zba=on,zbb=on -smp 1 -m 64M -display none -no-reboot -nodefaults -no-user-config';
const ICOUNT = '-icount shift=0,sleep=off -seed 42 -rtc base=2026-01-01T00:00:00,clock=vm';
const PTY = '-chardev stdio,id=console,signal=off -serial chardev:console -monitor none';
const MONITOR = '-chardev stdio,id=console,mux=on,signal=off -serial chardev:console -mon console';
const DEVICES = [
  '-device virtio-rng-device,bus=virtio-mmio-bus.0',
  '-device virtio-serial-device,id=vser,max_ports=4,bus=virtio-mmio-bus.1',
  '-chardev socket,id=dcgm,path=/d/dcgm.sock',
  '-device virtserialport,bus=vser.0,nr=1,chardev=dcgm,name=org.vigil.dcgm',
  '-chardev socket,id=export,path=/d/export.sock,server=on,wait=off',
  '-device virtserialport,bus=vser.0,nr=2,chardev=export,name=org.vigil.export',
  '-chardev socket,id=control,path=/d/control.sock,server=on,wait=off',
  '-device virtserialport,bus=vser.0,nr=3,chardev=control,name=org.vigil.control',
].join(' ');
/** In real time QEMU looks for a bridge that went; the gate does not. */
const RUN_DEVICES = DEVICES.replace('path=/d/dcgm.sock', 'path=/d/dcgm.sock,reconnect=1');
const TAIL = '-kernel K -initrd B -append A';
const GDB = '-S -chardev socket,id=gdb,path=/d/gdb.sock,server=on,wait=off -gdb chardev:gdb';

test('the argv of each machine is exactly this', () => {
  assert.equal(line({}), `${HEAD} -global virtio-mmio.force-legacy=false ${ICOUNT} ${PTY} ${DEVICES} ${TAIL}`);
  assert.equal(line({ transport: 'legacy' }), `${HEAD} -global virtio-mmio.force-legacy=true ${ICOUNT} ${PTY} ${DEVICES} ${TAIL}`);
  assert.equal(line({ mode: 'run', console: 'monitor' }), `${HEAD} -global virtio-mmio.force-legacy=false ${MONITOR} ${RUN_DEVICES} ${TAIL}`);
  assert.equal(line({ mode: 'gdb' }), `${HEAD} -global virtio-mmio.force-legacy=false ${ICOUNT} ${PTY} ${DEVICES} ${GDB} ${TAIL}`);
  assert.equal(
    line({ consoleLog: '/l,og' }),
    `${HEAD} -global virtio-mmio.force-legacy=false ${ICOUNT} ${PTY.replace('signal=off', 'signal=off,logfile=/l,,og')} ${DEVICES} ${TAIL}`,
  );
  const [waiting, export_] = ['export.sock,server=on,wait=on', 'export.sock,server=on,wait=off'];
  assert.equal(line({ waitForExport: true }), line({}).replace(export_, waiting));
  assert.notEqual(line({ waitForExport: true }), line({}));
  const disk = '-device virtio-blk-device,drive=state,bus=virtio-mmio-bus.2,werror=report,rerror=report';
  const front = `${HEAD} -global virtio-mmio.force-legacy=false ${ICOUNT} ${PTY} ${DEVICES}`;
  assert.equal(
    line({ drive: { source: { file: '/d,/s', throwaway: true } } }),
    `${front} -blockdev driver=file,filename=/d,,/s,cache.no-flush=on,node-name=state-file`
      + ` -blockdev driver=raw,node-name=state,file=state-file,cache.no-flush=on ${disk} ${TAIL}`,
  );
  assert.equal(
    line({ drive: { source: { nbd: '/d/n' }, readOnly: true, noFlush: true } }),
    `${front} -blockdev driver=nbd,server.type=unix,server.path=/d/n,export=state,node-name=state-file,read-only=on`
      + ` -blockdev driver=raw,node-name=state,file=state-file,read-only=on ${disk},write-cache=off,config-wce=off ${TAIL}`,
  );
  assert.equal(line({ devices: false, drive: { source: { nbd: '/d/n' } } }), line({ devices: false }));
  assert.equal(line({ devices: false }), `${HEAD} -global virtio-mmio.force-legacy=false ${ICOUNT} ${PTY} ${TAIL}`);
});

test('the boot arguments have a fixed order, and refuse what the format cannot carry', () => {
  const nonce = '0123456789abcdef';
  const bundle = 'c'.repeat(64);
  const base = { profile: 'proof', nonce, bundle, idle: 'poll' } as const;
  assert.equal(bootArgs(base), `profile=proof nonce=${nonce} bundle=${bundle} idle=poll`);
  const all = bootArgs({ ...base, diag: true, mutant: 7, recipe: 'gpu' });
  assert.equal(all, `profile=proof nonce=${nonce} bundle=${bundle} idle=poll recipe=gpu mutant=7 diag=on`);
  const seeded = bootArgs({ ...base, minutes: 60, round: '0000000a', seed: '00000001' });
  assert.equal(seeded, `profile=proof nonce=${nonce} bundle=${bundle} idle=poll seed=00000001 round=0000000a minutes=60`);
  assert.equal(bootArgs({ ...base, exportMs: 1000 }), `profile=proof nonce=${nonce} bundle=${bundle} idle=poll export_ms=1000`);
  assert.throws(() => bootArgs({ ...base, nonce: 'XYZ' }), /nonce/);
  assert.throws(() => bootArgs({ ...base, bundle: 'short' }), /SHA-256/);
  assert.throws(() => bootArgs({ ...base, recipe: 'a b' }), /bad character/);
  assert.throws(() => bootArgs({ ...base, recipe: 'r'.repeat(BOOT_ARGS_BYTES_MAX) }), /longer than/);
  assert.equal(BOOT_ARGS_BYTES_MAX, limit(loadAbi(), 'kernel', 'boot_args_bytes_max'));
});

test('the machine has the memory of the limits table', () => {
  assert.equal(limit(loadAbi(), 'kernel', 'guest_memory_bytes'), 64 * 1024 * 1024);
});

test('a socket path that a Unix socket cannot have is refused', () => {
  assert.throws(() => socketsIn(`/tmp/${'x'.repeat(100)}`), /too long/);
});

test('versions: tested, untested, too old, known to be broken, no version at all', () => {
  const banner = (version: string): string => `QEMU emulator version ${version} (Debian)`;
  assert.deepEqual(judgeVersion(banner('7.2.22')), { kind: 'tested', version: '7.2.22' });
  assert.equal(judgeVersion(banner('9.1.0')).kind, 'untested');
  assert.equal(judgeVersion(banner('7.1.9')).kind, 'broken');
  assert.equal(judgeVersion(banner('9.1.0'), [{ version: '9.1.0', note: 'loses time' }]).kind, 'broken');
  assert.equal(judgeVersion('something else').kind, 'broken');
});

test('a variable that contradicts the profile is an error of usage; one that agrees is none', () => {
  const refuses = (env: Record<string, string>, transport: 'modern' | 'legacy', mode: 'gate' | 'run' | 'gdb'): void =>
    assert.throws(() => refuseContradictions(env, transport, mode), { exitCode: 2, message: new RegExp(Object.keys(env)[0]!) });
  refuseContradictions({ PATH: '/bin', SMP: '1', QEMU_FORCE_LEGACY: '0', QEMU_NO_ICOUNT: '0' }, 'modern', 'gate');
  refuseContradictions({ QEMU_FORCE_LEGACY: '1' }, 'legacy', 'gate');
  refuses({ SMP: '2' }, 'modern', 'gate');
  refuses({ QEMU_FORCE_LEGACY: '1' }, 'modern', 'gate');
  refuses({ QEMU_FORCE_LEGACY: '0' }, 'legacy', 'gate');
  refuses({ QEMU_NO_ICOUNT: '1' }, 'modern', 'gdb');
  refuses({ QEMU_EXTRA_ARGS: '-smp 4' }, 'modern', 'run');
  refuses({ VIGIL_TRANSPORT: 'legacy' }, 'modern', 'gate');
});
