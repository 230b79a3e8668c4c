// SPDX-License-Identifier: Apache-2.0
// Owns: the kubelet's PodResources API, version v1, as a client: which messages, which calls, and what each failure is called.
// Invariant: a question ends within callMs, an answer is at most messageBytes, and every failure has a name of KUBELET_STATES; a new
// connection for each reading, so that a kubelet that was restarted is found at the next one. Limits: ATTRIBUTION_LIMITS.
// Source: k8s.io/kubelet/pkg/apis/podresources/v1 (field numbers), gRPC's status codes.
import { lstat } from 'node:fs/promises';
import type { Client, ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { ATTRIBUTION_LIMITS } from './limits.js';
import { AttributionFailure } from './refresh.js';

/** Fields that are not read (CPUs, memory, topology) are not listed; protobuf skips them. */
const root = protobuf.Root.fromJSON({ nested: { v1: { nested: {
  ListPodResourcesRequest: { fields: {} },
  ListPodResourcesResponse: { fields: { podResources: { id: 1, type: 'PodResources', rule: 'repeated' } } },
  PodResources: { fields: {
    name: { id: 1, type: 'string' }, namespace: { id: 2, type: 'string' },
    containers: { id: 3, type: 'ContainerResources', rule: 'repeated' },
  } },
  ContainerResources: { fields: {
    name: { id: 1, type: 'string' }, devices: { id: 2, type: 'ContainerDevices', rule: 'repeated' },
    dynamicResources: { id: 5, type: 'DynamicResource', rule: 'repeated' },
  } },
  ContainerDevices: { fields: { resourceName: { id: 1, type: 'string' }, deviceIds: { id: 2, type: 'string', rule: 'repeated' } } },
  DynamicResource: { fields: {
    claimName: { id: 2, type: 'string' }, claimNamespace: { id: 3, type: 'string' },
    claimResources: { id: 4, type: 'ClaimResource', rule: 'repeated' },
  } },
  ClaimResource: { fields: {
    driverName: { id: 2, type: 'string' }, poolName: { id: 3, type: 'string' }, deviceName: { id: 4, type: 'string' },
  } },
  AllocatableResourcesRequest: { fields: {} },
  AllocatableResourcesResponse: { fields: { devices: { id: 1, type: 'ContainerDevices', rule: 'repeated' } } },
} } } });

/** The message types by name, also for a kubelet of a test. */
export const podResourcesType = (name: string): protobuf.Type => root.lookupType(`v1.${name}`);
export const POD_RESOURCES_PATHS = {
  list: '/v1.PodResourcesLister/List', allocatable: '/v1.PodResourcesLister/GetAllocatableResources',
} as const;

export interface ContainerDevices { readonly resourceName: string; readonly deviceIds: readonly string[] }
export interface PodResources {
  readonly name: string; readonly namespace: string;
  readonly containers: readonly {
    readonly name: string; readonly devices: readonly ContainerDevices[];
    readonly dynamicResources: readonly { readonly claimResources: readonly { readonly driverName: string }[] }[];
  }[];
}
/** `allocatable` null: this kubelet does not tell which devices are healthy. */
export interface PodResourcesAnswer { readonly pods: readonly PodResources[]; readonly allocatable: readonly ContainerDevices[] | null }

/** What can be wrong with a kubelet, by name: docs/operators has a line for each. */
export const KUBELET_STATES = {
  socket_absent: 'no such socket: no kubelet here, or the path is not mounted',
  not_a_socket: 'the path is not a unix socket',
  permission_denied: 'this user may not open the socket',
  unreachable: 'nobody answers on the socket: the kubelet is down or restarting',
  slow: 'no answer in time',
  too_large: 'an answer larger than the limit',
  busy: 'the kubelet limits how often it is asked',
  unsupported: 'the kubelet does not serve PodResources v1',
  garbage: 'an answer that is not a PodResources message',
  failed: 'any other failure',
} as const;
export type KubeletState = keyof typeof KUBELET_STATES;

const failure = (state: KubeletState, message: string): AttributionFailure => new AttributionFailure(state, message);

/** Looks at the path first: gRPC says "unavailable" to everything. */
async function checkSocket(path: string): Promise<void> {
  let found;
  try {
    found = await lstat(path);
    if (found.isSymbolicLink()) return;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw failure('socket_absent', `${path}: no such socket`);
    if (code === 'EACCES' || code === 'EPERM') throw failure('permission_denied', `${path}: permission denied`);
    throw failure('failed', `${path}: ${(error as Error).message}`);
  }
  if (!found.isSocket()) throw failure('not_a_socket', `${path}: not a unix socket`);
}

/** gRPC's status, and for some of them its text, as one of our states. */
function stateOf(error: Partial<ServiceError>): KubeletState {
  const details = error.details ?? error.message ?? '';
  switch (error.code) {
    case 4: return 'slow';
    case 7: case 16: return 'permission_denied';
    case 8: return /larger than max/.test(details) ? 'too_large' : 'busy';
    case 12: return 'unsupported';
    case 13: return 'garbage';
    case 14: return /EACCES|EPERM/.test(details) ? 'permission_denied' : 'unreachable';
    default: return 'failed';
  }
}

const decoded = (name: string) => (bytes: Buffer): Record<string, unknown> => {
  const type = podResourcesType(name);
  return type.toObject(type.decode(bytes), { arrays: true, objects: true, defaults: true });
};

/** Reads the kubelet once. Rejects with an AttributionFailure. */
export async function readPodResources(
  socket: string, signal: AbortSignal, callMs: number = ATTRIBUTION_LIMITS.callMs,
): Promise<PodResourcesAnswer> {
  await checkSocket(socket);
  const { Client: GrpcClient, credentials } = await import('@grpc/grpc-js');
  const client: Client = new GrpcClient(`unix:${socket}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': ATTRIBUTION_LIMITS.messageBytes, 'grpc.max_send_message_length': 1024,
    'grpc.use_local_subchannel_pool': 1, 'grpc.enable_retries': 0,
  });
  const ask = <T>(path: string, answer: string): Promise<T> => new Promise((resolve, reject) => {
    const empty = (): Buffer => Buffer.alloc(0);
    const call = client.makeUnaryRequest(path, empty, decoded(answer), {}, { deadline: Date.now() + callMs }, (error, value) => {
      signal.removeEventListener('abort', cancel);
      if (error !== null) reject(failure(stateOf(error), `${path}: ${error.details || error.message}`));
      else resolve(value as T);
    });
    const cancel = (): void => { call.cancel(); };
    signal.addEventListener('abort', cancel, { once: true });
  });
  try {
    const { podResources } = await ask<{ podResources: PodResources[] }>(POD_RESOURCES_PATHS.list, 'ListPodResourcesResponse');
    return { pods: podResources, allocatable: await allocatable(ask) };
  } finally {
    client.close();
  }
}

/** An older kubelet lacks this call; who holds which device does not depend on it. */
async function allocatable(ask: <T>(path: string, answer: string) => Promise<T>): Promise<readonly ContainerDevices[] | null> {
  try {
    return (await ask<{ devices: ContainerDevices[] }>(POD_RESOURCES_PATHS.allocatable, 'AllocatableResourcesResponse')).devices;
  } catch {
    return null;
  }
}
