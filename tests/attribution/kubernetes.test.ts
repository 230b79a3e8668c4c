// SPDX-License-Identifier: Apache-2.0
// Pods at GPUs through a fake kubelet, over real gRPC on a unix socket: who holds what, and every way in which a kubelet can be wrong.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test, type TestContext } from 'node:test';
import { KubernetesAttributor, podTable, type KubernetesOptions } from '../../runtime/attribution/kubernetes.js';
import { ATTRIBUTION_LIMITS } from '../../runtime/attribution/limits.js';
import { MigNames } from '../../runtime/attribution/mig-names.js';
import { KUBELET_STATES, podResourcesType, type PodResourcesAnswer } from '../../runtime/attribution/pod-resources.js';
import { FakeKubelet, noise, pod } from './fake-kubelet.js';

const dir = mkdtempSync(join(tmpdir(), 'vigil-kubelet-'));
after(() => { rmSync(dir, { recursive: true, force: true }); });
let sockets = 0;
const newSocket = (): string => join(dir, `kubelet-${++sockets}.sock`);
const UUID = (n: number): string => `GPU-5c819ed0-0000-0000-0000-${String(n).padStart(12, '0')}`;
const gpu = (n: number): Map<string, string> => new Map([['hw.type', 'gpu'], ['hw.id', UUID(n)], ['hw.gpu.index', String(n)]]);
const slice = (n: number, gi: number): Map<string, string> =>
  new Map([['hw.type', 'gpu'], ['hw.id', `${UUID(n)}/gi${gi}`], ['hw.gpu.index', String(n)], ['hw.gpu.mig.instance_id', String(gi)]]);
const pods = (attributor: KubernetesAttributor, entity: Map<string, string>): string[] =>
  attributor.attributes(entity).map((set) => `${set.get('k8s.namespace.name')}/${set.get('k8s.pod.name')}/${set.get('k8s.container.name')}`);

async function start(context: TestContext, kubelet: FakeKubelet | string, more: Partial<KubernetesOptions> = {}): Promise<KubernetesAttributor> {
  const attributor = new KubernetesAttributor({
    socket: typeof kubelet === 'string' ? kubelet : kubelet.socket, prefixes: ['nvidia.com/'], refreshMs: 600_000, ...more,
  });
  context.after(async () => {
    await attributor.close();
    if (typeof kubelet !== 'string') await kubelet.stop();
  });
  if (typeof kubelet !== 'string') await kubelet.start();
  await attributor.start();
  return attributor;
}

test('the messages have the published field numbers', () => {
  // PodResources { name=1 "p", namespace=2 "n", containers=3 { name=1 "c", devices=2 { resource_name=1 "r", device_ids=2 "d" } } }
  const bytes = Buffer.from('0a130a017012016e1a0b0a016312060a0172120164', 'hex');
  const answer = podResourcesType('ListPodResourcesResponse').toObject(podResourcesType('ListPodResourcesResponse').decode(bytes), { arrays: true });
  assert.deepEqual(answer, { podResources: [{ name: 'p', namespace: 'n', containers: [
    { name: 'c', devices: [{ resourceName: 'r', deviceIds: ['d'] }], dynamicResources: [] },
  ] }] });
  const allocatable = podResourcesType('AllocatableResourcesResponse').decode(Buffer.from('0a060a0172120164', 'hex'));
  assert.deepEqual(podResourcesType('AllocatableResourcesResponse').toObject(allocatable), { devices: [{ resourceName: 'r', deviceIds: ['d'] }] });
});

test('whole GPUs, shares, MIG, other resources and other vendors', async (context) => {
  const kubelet = new FakeKubelet(newSocket());
  kubelet.pods = [
    pod('train', [UUID(0), UUID(1)]),
    pod('share-b', [`${UUID(2)}::4`, `${UUID(2)}::5`], 'nvidia.com/gpu.shared'), pod('share-a', [`${UUID(2)}::1`], 'nvidia.com/gpu.shared', 'dev'),
    pod('slice', [`MIG-${UUID(3)}/7/0`], 'nvidia.com/mig-1g.10gb'), pod('gke', ['nvidia3/gi8'], 'nvidia.com/gpu'),
    pod('network', ['mlx5_0'], 'rdma/hca'), pod('amd', ['0000:01:00.0'], 'amd.com/gpu'), pod('odd', ['strange-id'], 'nvidia.com/gpu'),
    { name: 'two', namespace: 'ml', containers: ['a', 'b'].map((name) => ({ name, devices: [{ resourceName: 'nvidia.com/gpu', deviceIds: [UUID(4)] }] })) },
    { name: 'cpu-only', namespace: 'ml', containers: [{ name: 'x', devices: [] }] },
    { name: 'claimed', namespace: 'ml', containers: [{ name: 'x', devices: [], dynamicResources: [{ claimName: 'c', claimResources: [{ driverName: 'gpu.nvidia.com' }] }] }] },
  ];
  kubelet.allocatable = [{ resourceName: 'nvidia.com/gpu', deviceIds: [UUID(0), UUID(4), 'nvidia3/gi8', 'strange-id'] },
    { resourceName: 'nvidia.com/gpu.shared', deviceIds: [1, 4, 5].map((n) => `${UUID(2)}::${n}`) }, { resourceName: 'nvidia.com/mig-1g.10gb', deviceIds: [`MIG-${UUID(3)}/7/0`] }];
  const attributor = await start(context, kubelet);
  assert.equal(attributor.states()[0]!.name, 'ok');
  assert.deepEqual(pods(attributor, gpu(0)), ['ml/train/train-main']);
  assert.deepEqual(pods(attributor, gpu(1)), ['ml/train/train-main']);
  assert.deepEqual(pods(attributor, gpu(2)), ['dev/share-a/share-a-main', 'ml/share-b/share-b-main'], 'once each');
  assert.deepEqual(pods(attributor, gpu(3)), [], 'a slice is not the whole GPU');
  assert.deepEqual(pods(attributor, slice(3, 7)), ['ml/slice/slice-main']);
  assert.deepEqual(pods(attributor, slice(3, 8)), ['ml/gke/gke-main']);
  assert.deepEqual(pods(attributor, slice(3, 9)), []);
  assert.deepEqual(pods(attributor, gpu(4)), ['ml/two/a', 'ml/two/b']);
  assert.deepEqual(pods(attributor, new Map([['hw.type', 'switch'], ['hw.id', 'nvswitch-0']])), []);
  const { counters, seen } = attributor;
  const now = Object.fromEntries(Object.entries(seen).map(([name, n]) => [name.replace('kubernetes_', ''), n]));
  assert.deepEqual(now, { pods: 7, devices: 10, unknown: 1, unhealthy: 1, health_unknown: 0, claims: 1, cut: 0, sets_cut: 0 });
  assert.equal(counters.kubernetes_lookups, 9);
  assert.equal(counters.kubernetes_hits, 6);
});

test('MIG UUIDs are placed by the driver\'s answer; what it cannot place is unknown', async (context) => {
  const mig = (n: number): string => `MIG-00000000-0000-0000-0000-${String(n).padStart(12, '0')}`;
  const kubelet = new FakeKubelet(newSocket());
  kubelet.pods = [pod('a', [mig(7)], 'nvidia.com/mig-1g.10gb'), pod('b', [`${mig(8)}::1`], 'nvidia.com/mig-1g.10gb.shared'), pod('c', [mig(9)])];
  const asked: string[][] = [];
  const names = new MigNames(async (uuids) => {
    asked.push([...uuids]);
    return { [mig(7)]: { gpu: UUID(1), instance: 7, compute: 0 }, [mig(8)]: { gpu: UUID(1), instance: 8, compute: 0 }, [mig(9)]: 'nvmlDeviceGetHandleByUUID: 6' };
  });
  const attributor = await start(context, kubelet, { mig: names });
  assert.deepEqual([pods(attributor, slice(1, 7)), pods(attributor, slice(1, 8)), pods(attributor, slice(1, 9))], [['ml/a/a-main'], ['ml/b/b-main'], []]);
  assert.equal(attributor.seen.kubernetes_unknown, 1);
  assert.equal(attributor.seen.kubernetes_mig_unplaced, 1);
  assert.match(names.why, /GetHandleByUUID: 6/);
  await attributor.refresh();
  assert.deepEqual(asked, [[mig(7), mig(8), mig(9)]], 'what is known is not asked again, what is unknown not at once');
});

test('a kubelet that is wrong has a name, telemetry goes on, and it is found again', async (context) => {
  const said: string[] = [];
  let nowMs = 0;
  const kubelet = new FakeKubelet(newSocket());
  kubelet.pods = [pod('train', [UUID(0)])];
  const attributor = await start(context, kubelet, { say: (line) => said.push(line), now: () => nowMs, callMs: 1_000 });
  const again = async (): Promise<string> => {
    await attributor.refresh();
    return attributor.states()[0]!.name;
  };
  assert.equal(await again(), 'ok');
  await kubelet.stop();
  assert.equal(await again(), 'socket_absent');
  assert.deepEqual(pods(attributor, gpu(0)), ['ml/train/train-main'], 'the last answer holds for a while');
  nowMs = ATTRIBUTION_LIMITS.holdMs;
  assert.deepEqual(pods(attributor, gpu(0)), ['ml/train/train-main']);
  assert.equal(attributor.states()[0]!.attributing, true);
  nowMs = ATTRIBUTION_LIMITS.holdMs + 1;
  assert.deepEqual(pods(attributor, gpu(0)), []);
  assert.equal(attributor.states()[0]!.attributing, false);
  assert.equal(await again(), 'socket_absent');
  await kubelet.stop(true);
  assert.equal(await again(), 'unreachable', 'a socket file that a killed kubelet left');
  await kubelet.stop();
  await kubelet.start();
  kubelet.pods = [pod('next', [UUID(0)])];
  assert.equal(await again(), 'ok');
  assert.deepEqual(pods(attributor, gpu(0)), ['ml/next/next-main']);
  kubelet.delayMs = 1_500;
  assert.equal(await again(), 'slow');
  kubelet.delayMs = 0;
  for (const [code, name] of [[7, 'permission_denied'], [16, 'permission_denied'], [8, 'busy'], [12, 'unsupported'], [13, 'garbage'], [14, 'unreachable'], [5, 'failed']] as const) {
    kubelet.refuse = code;
    assert.equal(await again(), name, `status ${code}`);
  }
  kubelet.refuse = null;
  kubelet.raw = Buffer.from('ffffffffffffffff', 'hex');
  assert.equal(await again(), 'garbage');
  kubelet.raw = Buffer.alloc(ATTRIBUTION_LIMITS.messageBytes + 1);
  assert.equal(await again(), 'too_large');
  kubelet.raw = null;
  kubelet.allocatable = null;
  assert.equal(await again(), 'ok', 'an older kubelet without the second call');
  assert.equal(attributor.seen.kubernetes_health_unknown, 1);
  assert.equal(attributor.seen.kubernetes_unhealthy, 0);
  assert.ok(said[0] === 'attribution: kubernetes ok' && said.some((line) => /socket_absent: .*no such socket; telemetry goes on with the last answer$/.test(line)), said.join('\n'));
  assert.equal(said.filter((line) => line.includes('socket_absent')).length, 1, 'said once');
  const failures = Object.entries(attributor.counters).filter(([name]) => name.startsWith('kubernetes_failures_'));
  assert.equal(failures.reduce((sum, [, count]) => sum + count, 0), attributor.counters.kubernetes_failures);
  for (const [name] of failures) assert.ok(name.slice(20) in KUBELET_STATES, name);
});

test('a path that is no socket, one that may not be opened, a link to a socket, and a listener that is no kubelet', async (context) => {
  const file = join(dir, 'plain');
  writeFileSync(file, 'x');
  assert.equal((await start(context, file)).states()[0]!.name, 'not_a_socket');
  assert.equal((await start(context, join(file, 'below'))).states()[0]!.name, 'socket_absent');
  const odd = ['unreachable', 'garbage', 'slow'];
  const cases: [Buffer, string[]][] = [[Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), odd], [Buffer.alloc(64, 0xff), odd], [Buffer.alloc(0), ['slow']]];
  for (const [bytes, names] of cases) {
    const socket = newSocket();
    const stop = await noise(socket, bytes);
    const attributor = await start(context, socket, { callMs: 300 });
    assert.ok(names.includes(attributor.states()[0]!.name), attributor.states()[0]!.name);
    assert.deepEqual(pods(attributor, gpu(0)), []);
    await stop();
  }
  const kubelet = new FakeKubelet(newSocket());
  kubelet.pods = [pod('train', [UUID(0)])];
  await kubelet.start();
  context.after(() => kubelet.stop());
  symlinkSync(kubelet.socket, join(dir, 'link'));
  assert.deepEqual(pods(await start(context, join(dir, 'link')), gpu(0)), ['ml/train/train-main']);
});

test('a socket that this user may not reach is permission_denied', async (context) => {
  const closed = join(dir, 'closed');
  mkdirSync(closed);
  const kubelet = new FakeKubelet(join(closed, 'kubelet.sock'));
  await kubelet.start();
  chmodSync(closed, 0);
  const nobody = 65_534;
  const root = process.getuid?.() === 0;
  context.after(async () => {
    if (root) process.seteuid!(0);
    chmodSync(closed, 0o700);
    await kubelet.stop();
  });
  // To root nothing is closed.
  if (root) process.seteuid!(nobody);
  assert.equal((await start(context, kubelet.socket)).states()[0]!.name, 'permission_denied');
});

test('close ends a question under way at once', async () => {
  const kubelet = new FakeKubelet(newSocket());
  kubelet.delayMs = 5_000;
  await kubelet.start();
  const attributor = new KubernetesAttributor({ socket: kubelet.socket, prefixes: ['nvidia.com/'], callMs: 60_000 });
  const started = attributor.start();
  while (kubelet.lists === 0) await new Promise((resolve) => { setTimeout(resolve, 10); });
  const before = performance.now();
  await attributor.close();
  await started;
  assert.ok(performance.now() - before < 1_000);
  assert.equal(attributor.states()[0]!.name, 'closed');
  assert.deepEqual(attributor.attributes(gpu(0)), []);
  await kubelet.stop();
});

test('it renews itself', async (context) => {
  const kubelet = new FakeKubelet(newSocket());
  kubelet.pods = [pod('one', [UUID(0)])];
  const attributor = await start(context, kubelet, { refreshMs: 20 });
  kubelet.pods = [pod('two', [UUID(0)])];
  for (let i = 0; i < 250 && pods(attributor, gpu(0))[0] !== 'ml/two/two-main'; i++) await new Promise((resolve) => { setTimeout(resolve, 20); });
  assert.deepEqual(pods(attributor, gpu(0)), ['ml/two/two-main']);
});

test('limits hold on both sides of their edges, and hostile names stay bounded texts', () => {
  const answer = (list: ReturnType<typeof pod>[]): PodResourcesAnswer => ({
    pods: list.map((one) => ({ ...one, containers: one.containers.map((container) => ({ dynamicResources: [], ...container })) })), allocatable: null,
  }) as PodResourcesAnswer;
  const table = (list: ReturnType<typeof pod>[]): ReturnType<typeof podTable> => podTable(answer(list), ['nvidia.com/'], () => null);
  const sharing = (count: number): ReturnType<typeof pod>[] => Array.from({ length: count }, (_, i) => pod(`p${i}`, [`${UUID(0)}::${i}`]));
  const at = table(sharing(ATTRIBUTION_LIMITS.setsPerEntity));
  assert.deepEqual([at.sets.get(UUID(0).toLowerCase())!.length, at.sets_cut], [ATTRIBUTION_LIMITS.setsPerEntity, 0]);
  const over = table(sharing(ATTRIBUTION_LIMITS.setsPerEntity + 3));
  assert.deepEqual([over.sets.get(UUID(0).toLowerCase())!.length, over.sets_cut], [ATTRIBUTION_LIMITS.setsPerEntity, 3]);
  const many = (count: number): string[] => Array.from({ length: count }, (_, i) => UUID(i));
  assert.deepEqual([table([pod('p', many(ATTRIBUTION_LIMITS.entries))]).devices, table([pod('p', many(ATTRIBUTION_LIMITS.entries))]).cut], [ATTRIBUTION_LIMITS.entries, 0]);
  assert.deepEqual([table([pod('p', many(ATTRIBUTION_LIMITS.entries + 1))]).devices, table([pod('p', many(ATTRIBUTION_LIMITS.entries + 1))]).cut], [ATTRIBUTION_LIMITS.entries, 1]);
  const [set] = table([pod(`a\n"\u0000{}<script>${'é'.repeat(300)}`, [UUID(0)])]).sets.get(UUID(0).toLowerCase())!;
  const name = set!.get('k8s.pod.name')!;
  assert.ok(name.startsWith('a"{}<script>é') && Buffer.byteLength(name) <= ATTRIBUTION_LIMITS.textBytes && !name.includes('\ufffd'), name);
});
