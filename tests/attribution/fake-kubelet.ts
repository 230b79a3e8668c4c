// SPDX-License-Identifier: Apache-2.0
// Owns: a kubelet for tests: a real gRPC server on a unix socket with the two calls of PodResources v1, and ways to misbehave.
// Invariant: it speaks through @grpc/grpc-js's server, with the message types of the client, whose field numbers a test compares
// with bytes written by hand. Limits: one socket; `close` leaves none.
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { Server, ServerCredentials, status, type ServiceError, type sendUnaryData } from '@grpc/grpc-js';
import { POD_RESOURCES_PATHS, podResourcesType } from '../../runtime/attribution/pod-resources.js';

export interface FakeDevices { resourceName: string; deviceIds: string[] }
export interface FakePod {
  name: string; namespace: string;
  containers: { name: string; devices: FakeDevices[]; dynamicResources?: object[] }[];
}
/** One pod with one container of the same name and some devices. */
export const pod = (name: string, ids: string[], resourceName = 'nvidia.com/gpu', namespace = 'ml'): FakePod =>
  ({ name, namespace, containers: [{ name: `${name}-main`, devices: [{ resourceName, deviceIds: ids }] }] });

export class FakeKubelet {
  pods: FakePod[] = [];
  /** null: the call is not served */
  allocatable: FakeDevices[] | null = [];
  /** answers with this gRPC status instead */
  refuse: number | null = null;
  delayMs = 0;
  /** bytes instead of a message */
  raw: Buffer | null = null;
  lists = 0;
  private server: Server | null = null;

  constructor(readonly socket: string) {}

  async start(): Promise<void> {
    const server = new Server({ 'grpc.max_send_message_length': -1 });
    const encode = (name: string) => (value: object): Buffer =>
      this.raw ?? Buffer.from(podResourcesType(name).encode(podResourcesType(name).fromObject(value)).finish());
    const method = (path: string, name: string) => ({
      path, requestStream: false, responseStream: false, requestSerialize: (value: Buffer) => value, requestDeserialize: (value: Buffer) => value,
      responseSerialize: encode(name), responseDeserialize: (value: Buffer) => value,
    });
    const answer = (value: () => object | null) => (_call: unknown, reply: sendUnaryData<object>): void => {
      const code = this.refuse ?? (value() === null ? status.UNIMPLEMENTED : null);
      if (code !== null) reply({ code, details: 'on purpose' } as ServiceError);
      else setTimeout(() => { reply(null, value()!); }, this.delayMs);
    };
    server.addService({
      list: method(POD_RESOURCES_PATHS.list, 'ListPodResourcesResponse'),
      allocatable: method(POD_RESOURCES_PATHS.allocatable, 'AllocatableResourcesResponse'),
    }, {
      list: answer(() => { this.lists++; return { podResources: this.pods }; }),
      allocatable: answer(() => (this.allocatable === null ? null : { devices: this.allocatable })),
    });
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${this.socket}`, ServerCredentials.createInsecure(), (error) => { if (error) reject(error); else resolve(); });
    });
    this.server = server;
  }

  /** Ends it as a killed kubelet ends: connections cut; `leaveSocket` keeps a dead socket file behind. */
  async stop(leaveSocket = false): Promise<void> {
    this.server?.forceShutdown();
    this.server = null;
    rmSync(this.socket, { force: true });
    if (leaveSocket) await deadSocket(this.socket);
  }
}

/** A socket file that nobody listens on. */
async function deadSocket(path: string): Promise<void> {
  const { spawnSync } = await import('node:child_process');
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
}

/** A listener that answers everything with the same bytes and is no gRPC server; the returned function closes it. */
export async function noise(path: string, bytes: Buffer): Promise<() => Promise<void>> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', () => { socket.write(bytes); });
  });
  server.listen(path);
  await once(server, 'listening');
  return async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  };
}
