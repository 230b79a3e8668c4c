// SPDX-License-Identifier: Apache-2.0
// Owns: the process that asks the driver where MIG devices are: one question on the command line, one JSON object on stdout, the end.
// Invariant: exit code 0 only with an answer for every UUID: its place, or the driver's code. Limits: the parent's deadline; it is killed
// by the parent when the driver does not return.
import { writeSync } from 'node:fs';
import { NvmlLibrary, type NvmlFunction } from '../bridge/nvml/library.js';

const TEXT_BYTES = 96;
const { library, uuids } = JSON.parse(process.argv[2] ?? '{}') as { library?: string; uuids: string[] };

const say = (text: string, code: number): never => {
  writeSync(1, text);
  return process.exit(code);
};

async function main(): Promise<never> {
  const nvml = NvmlLibrary.open(library);
  const started = await nvml.call('nvmlInit_v2');
  if (started !== 0) return say(`nvmlInit: ${started}`, 1);
  const check = async (name: NvmlFunction, ...args: unknown[]): Promise<void> => {
    const code = await nvml.call(name, ...args);
    if (code !== 0) throw new Error(`${name}: ${code}`);
  };
  const placeOf = async (uuid: string): Promise<unknown> => {
    try {
      const handle = Buffer.alloc(8);
      await check('nvmlDeviceGetHandleByUUID', Buffer.from(`${uuid}\0`, 'latin1'), handle);
      const mig = handle.readBigUInt64LE(0);
      const number = Buffer.alloc(4);
      await check('nvmlDeviceGetGpuInstanceId', mig, number);
      const instance = number.readUInt32LE(0);
      await check('nvmlDeviceGetComputeInstanceId', mig, number);
      const compute = number.readUInt32LE(0);
      await check('nvmlDeviceGetDeviceHandleFromMigDeviceHandle', mig, handle);
      const text = Buffer.alloc(TEXT_BYTES);
      await check('nvmlDeviceGetUUID', handle.readBigUInt64LE(0), text, TEXT_BYTES);
      return { gpu: text.toString('latin1').split('\0')[0], instance, compute };
    } catch (error) {
      return (error as Error).message;
    }
  };
  const places: Record<string, unknown> = {};
  for (const uuid of uuids) places[uuid] = await placeOf(uuid);
  return say(JSON.stringify(places), 0);
}

main().catch((error: unknown) => say((error as Error).message.split('\n')[0]!, 1));
