// SPDX-License-Identifier: Apache-2.0
// Owns: the driver's own library as a source, where DCGM is not installed; labelled `nvml` everywhere.
// Invariant: values come from NVML in the units of DCGM's fields, stamped with the host's time at the question; a field without a
// reader answers "not supported". Nothing is cached but names. Limits: engine_gpus_max devices; the whole read within the guest's wait.
import { GROUP, catalogField, hasField } from '../catalog.js';
import { blankOf } from '../dcgm/blanks.js';
import type { EngineHooks } from '../dcgm/engine.js';
import { DCGM_NOT_SUPPORTED, codeText, isGone, returnOf } from '../dcgm/returns.js';
import { limit, valueType } from '../protocol.js';
import { SourceError, type Entity, type Sample, type Source, type WatchRequest } from '../source.js';
import { cleanIdentity, cleanText } from '../text.js';
import { NVML_SONAME, NvmlLibrary, asDcgm, type NvmlFunction } from './library.js';
import { READERS } from './readers.js';

const TEXT_BYTES = 96;
/** nvmlPciInfo_t: legacy id 16, domain, bus, device, pci id, subsystem u32 each, then the bus id, 32 bytes. */
const PCI_INFO_BYTES = 68;
const PCI_BUS_ID_AT = 36;

export class NvmlSource implements Source {
  readonly label = 'nvml';
  private nvml: NvmlLibrary | null = null;
  private initialised = false;
  private connected = false;
  private devices: { readonly handle: bigint; readonly entity: Entity }[] | null = null;
  private watches = new Map<number, WatchRequest>();
  private nextWatch = 1;
  private driver = '';

  constructor(private readonly options: { readonly library?: string }, private readonly hooks: EngineHooks) {}

  async connect(): Promise<void> {
    if (this.connected) throw new SourceError('already_connected', 'one session at a time');
    try {
      this.nvml ??= NvmlLibrary.open(this.options.library);
    } catch (error) {
      const why = (error as Error).message.split('\n')[0];
      throw this.failure('library_absent', 'unavailable', `${this.options.library ?? NVML_SONAME}: ${why}`);
    }
    if (!this.initialised) {
      const code = await this.call('nvmlInit_v2');
      if (code !== 0) throw this.failure('no_driver', returnOf(code).status, `nvmlInit: ${codeText(code)}`);
    }
    this.initialised = true;
    this.driver = cleanText(await this.text('nvmlSystemGetDriverVersion'));
    this.connected = true;
    this.hooks.state('ready', `driver ${this.driver}`);
  }

  startEmbedded(): never { throw new SourceError('unsupported', 'NVML has no engine to start'); }

  async enumerate(): Promise<readonly Entity[]> {
    this.needSession();
    const out = Buffer.alloc(8);
    this.check('nvmlDeviceGetCount', await this.call('nvmlDeviceGetCount_v2', out));
    const count = out.readUInt32LE(0);
    if (count > limit('engine_gpus_max')) throw new SourceError('over_limit', `${count} GPUs, at most ${limit('engine_gpus_max')}`);
    const devices: { handle: bigint; entity: Entity }[] = [];
    for (let index = 0; index < count; index++) {
      const code = await this.call('nvmlDeviceGetHandleByIndex_v2', index, out);
      if (code !== 0) continue; // lost or not ours to see: the others are there
      const handle = out.readBigUInt64LE(0);
      const pci = Buffer.alloc(PCI_INFO_BYTES);
      const known = (await this.call('nvmlDeviceGetPciInfo_v3', handle, pci)) === 0;
      devices.push({ handle, entity: {
        group: GROUP.gpu, id: index, uuid: cleanIdentity(await this.text('nvmlDeviceGetUUID', handle), `gpu-${index}`),
        model: cleanText(await this.text('nvmlDeviceGetName', handle)), driver: this.driver,
        bdf: known ? cleanText(pci.subarray(PCI_BUS_ID_AT).toString('latin1').split('\0')[0]!) : '',
      } });
    }
    this.devices = devices;
    if (devices.length === 0) this.hooks.state('no_gpus', 'the driver shows no device');
    return devices.map(({ entity }) => entity);
  }

  async watch(request: WatchRequest): Promise<number> {
    this.needSession();
    if (this.watches.size >= limit('watches_max')) throw new SourceError('over_limit', 'too many watches');
    if (request.fieldIds.length === 0) throw new SourceError('bad_request', 'a watch names at least one field');
    for (const id of request.fieldIds) if (catalogField(id) === undefined) throw new SourceError('field_not_supported', `field ${id}`);
    if (this.devices === null) await this.enumerate();
    for (const { group, id } of request.entities) {
      if (!this.devices!.some(({ entity }) => entity.group === group && entity.id === id)) {
        throw new SourceError('entity_not_found', `entity ${group}:${id}`);
      }
    }
    const id = this.nextWatch++;
    this.watches.set(id, request);
    return id;
  }

  async latestValues(watchId: number): Promise<readonly Sample[]> {
    this.needSession();
    const watch = this.watches.get(watchId);
    if (watch === undefined) throw new SourceError('bad_request', `watch ${watchId} is not known`);
    const wanted = (group: number, id: number): boolean =>
      watch.entities.length === 0 || watch.entities.some((entity) => entity.group === group && entity.id === id);
    const samples: Sample[] = [];
    for (const { handle, entity } of this.devices ?? []) {
      if (!wanted(entity.group, entity.id)) continue;
      for (const id of watch.fieldIds) {
        const field = catalogField(id)!;
        if (hasField(entity.group, field)) samples.push(await this.sample(handle, entity, id));
      }
    }
    return samples;
  }

  private async sample(handle: bigint, entity: Entity, fieldId: number): Promise<Sample> {
    const field = catalogField(fieldId)!;
    const reader = READERS.get(fieldId);
    const reading = reader === undefined ? null : await reader(this.nvml!, handle);
    const status = reading === null ? DCGM_NOT_SUPPORTED : asDcgm(reading.code);
    if (isGone(status)) throw new SourceError('entity_not_found', `gpu ${entity.id}: ${codeText(status)}`);
    return { group: entity.group, entityId: entity.id, fieldId, type: valueType(field.type), status,
      tsUs: BigInt(Date.now()) * 1000n, value: reading !== null && status === 0 ? reading.value : blankOf(field.type) };
  }

  version(): string {
    this.needSession();
    return `source:nvml;driver:${this.driver};library:${this.nvml!.path};`;
  }

  close(): void {
    this.connected = false;
    this.devices = null;
    this.watches.clear();
  }

  async stop(): Promise<void> {
    this.close();
    if (this.initialised) await this.call('nvmlShutdown');
  }

  private async text(name: NvmlFunction, ...handle: bigint[]): Promise<string> {
    const out = Buffer.alloc(TEXT_BYTES);
    const code = await this.call(name, ...handle, out, TEXT_BYTES);
    return code === 0 ? out.toString('latin1').split('\0')[0]! : '';
  }

  private async call(name: NvmlFunction, ...args: unknown[]): Promise<number> { return asDcgm(await this.nvml!.call(name, ...args)); }

  private check(name: string, code: number): void {
    if (code !== 0) throw new SourceError(returnOf(code).status, `${name}: ${codeText(code)}`);
  }
  private failure(state: string, status: string, detail: string): SourceError {
    this.hooks.state(state, detail);
    return new SourceError(status, detail);
  }
  private needSession(): void {
    if (!this.connected) throw new SourceError('not_connected', 'connect first');
  }
}
