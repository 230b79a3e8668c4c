// SPDX-License-Identifier: Apache-2.0
// One NBD client, as a state machine over bytes: handshake, options, then requests. No socket, no clock.
// Invariant: nothing reaches the device that is outside it, longer than REQUEST_BYTES_MAX or of an unknown kind; a client that breaks the
// framing is closed and the reason kept. Limits: at most one option or one request is buffered, OPTIONS_MAX options a client.
import type { Device, DiskRequest } from './device.js';
import {
  BLOCK_BYTES_MIN, CMD, ERROR, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, INFO, OPT, OPTIONS_MAX, OPTION_BYTES_MAX, OPTION_HEAD_BYTES,
  OPTION_MAGIC, REP, REQUEST_BYTES_MAX, REQUEST_HEAD_BYTES, REQUEST_MAGIC, TRANSMISSION, blockSizeInfo, exportInfo, exportNameReply,
  greeting, optionReply, readInfoRequest, readOptionHead, readRequestHead, serverEntry, simpleReply, type RequestHead,
} from './protocol.js';

/** The one export. An empty name means it too, as the protocol has it. */
export const EXPORT = 'state';

export interface ConnectionCounters {
  options: number;
  refusedOptions: number;
  requests: number;
  /** requests answered with an error before the device saw them */
  refusedRequests: number;
}

type State = 'flags' | 'options' | 'requests' | 'closed';

export class Connection {
  readonly counters: ConnectionCounters = { options: 0, refusedOptions: 0, requests: 0, refusedRequests: 0 };
  /** why the server closed the connection; null while it is open, and when the client left in order */
  broken: string | null = null;
  private state: State = 'flags';
  private noZeroes = false;
  private input: Buffer = Buffer.alloc(0);

  /** @param send takes bytes for the client @param close ends the connection; called once */
  constructor(
    private readonly device: Device,
    private readonly send: (bytes: Buffer) => void,
    private readonly close: () => void,
  ) {
    this.send(greeting());
  }

  get open(): boolean {
    return this.state !== 'closed';
  }

  /** Bytes from the client, in pieces of any size. */
  push(chunk: Buffer): void {
    this.input = this.input.length === 0 ? chunk : Buffer.concat([this.input, chunk]);
    while (this.open && this.step()) continue;
  }

  /** Takes one whole item off the input; false when it is not there yet. Each round of push() consumes bytes, so it ends. */
  private step(): boolean {
    if (this.state === 'flags') return this.clientFlags();
    return this.state === 'options' ? this.option() : this.request();
  }

  private take(bytes: number): Buffer {
    const taken = this.input.subarray(0, bytes);
    this.input = this.input.subarray(bytes);
    return taken;
  }

  private end(broken: string | null): boolean {
    this.broken = broken;
    this.state = 'closed';
    this.input = Buffer.alloc(0);
    this.close();
    return false;
  }

  private clientFlags(): boolean {
    if (this.input.length < 4) return false;
    const flags = this.take(4).readUInt32BE(0);
    if ((flags & ~(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES)) !== 0) return this.end(`client flags ${flags}`);
    if ((flags & FLAG_FIXED_NEWSTYLE) === 0) return this.end('a client that does not speak fixed newstyle');
    this.noZeroes = (flags & FLAG_NO_ZEROES) !== 0;
    this.state = 'options';
    return true;
  }

  private get transmissionFlags(): number {
    const { readOnly, flush } = this.device;
    return TRANSMISSION.hasFlags | (readOnly ? TRANSMISSION.readOnly : 0) | (flush ? TRANSMISSION.sendFlush : 0);
  }

  private option(): boolean {
    if (this.input.length < OPTION_HEAD_BYTES) return false;
    const { magic, option, length } = readOptionHead(this.input);
    if (magic !== OPTION_MAGIC) return this.end('an option without its magic');
    if (length > OPTION_BYTES_MAX) return this.end(`an option of ${length} bytes`);
    if (this.input.length < OPTION_HEAD_BYTES + length) return false;
    if (++this.counters.options > OPTIONS_MAX) return this.end(`more than ${OPTIONS_MAX} options`);
    const data = this.take(OPTION_HEAD_BYTES + length).subarray(OPTION_HEAD_BYTES);
    switch (option) {
      case OPT.exportName:
        return this.exportName(data);
      case OPT.abort:
        this.send(optionReply(option, REP.ack));
        return this.end(null);
      case OPT.list:
        if (length !== 0) return this.refuseOption(option, REP.errInvalid);
        this.send(Buffer.concat([optionReply(option, REP.server, serverEntry(EXPORT)), optionReply(option, REP.ack)]));
        return true;
      case OPT.info:
      case OPT.go:
        return this.info(option, data);
      default:
        return this.refuseOption(option, REP.errUnsup);
    }
  }

  private refuseOption(option: number, type: number): boolean {
    this.counters.refusedOptions++;
    this.send(optionReply(option, type));
    return true;
  }

  private exportName(data: Buffer): boolean {
    const name = data.toString('utf8');
    if (name !== '' && name !== EXPORT) return this.end(`no export "${name.slice(0, 64)}"`);
    this.send(exportNameReply(this.device.bytes, this.transmissionFlags, this.noZeroes));
    this.state = 'requests';
    return true;
  }

  private info(option: number, data: Buffer): boolean {
    const asked = readInfoRequest(data);
    if (asked === null) return this.refuseOption(option, REP.errInvalid);
    if (asked.name !== '' && asked.name !== EXPORT) return this.refuseOption(option, REP.errUnknown);
    this.send(optionReply(option, REP.info, exportInfo(this.device.bytes, this.transmissionFlags)));
    if (asked.infos.includes(INFO.blockSize)) this.send(optionReply(option, REP.info, blockSizeInfo()));
    this.send(optionReply(option, REP.ack));
    if (option === OPT.go) this.state = 'requests';
    return true;
  }

  private request(): boolean {
    if (this.input.length < REQUEST_HEAD_BYTES) return false;
    const head = readRequestHead(this.input);
    if (head.magic !== REQUEST_MAGIC) return this.end('a request without its magic');
    const payload = head.type === CMD.write ? head.length : 0;
    if (payload > REQUEST_BYTES_MAX) return this.end(`a write of ${payload} bytes`);
    if (this.input.length < REQUEST_HEAD_BYTES + payload) return false;
    const data = this.take(REQUEST_HEAD_BYTES + payload).subarray(REQUEST_HEAD_BYTES);
    this.counters.requests++;
    if (head.type === CMD.disc) return this.end(null);
    const error = this.refusal(head);
    if (error !== ERROR.none) {
      this.counters.refusedRequests++;
      this.send(simpleReply(head.handle, error));
      return true;
    }
    const kind = head.type === CMD.read ? 'read' : head.type === CMD.write ? 'write' : 'flush';
    const request: DiskRequest = { kind, offset: Number(head.offset), length: head.length, data };
    this.device.request(request, (answer, bytes) => {
      if (this.open) this.send(simpleReply(head.handle, answer, answer === ERROR.none ? bytes : undefined));
    });
    return true;
  }

  /** The error of a request that must not reach the device; none for a good one. */
  private refusal({ type, flags, offset, length }: RequestHead): number {
    if (type === CMD.flush) {
      if (!this.device.flush) return ERROR.notsup;
      return flags === 0 && offset === 0n && length === 0 ? ERROR.none : ERROR.inval;
    }
    if (type !== CMD.read && type !== CMD.write) return ERROR.notsup;
    if (flags !== 0 || length === 0 || length > REQUEST_BYTES_MAX) return ERROR.inval;
    const whole = length % BLOCK_BYTES_MIN === 0 && offset % BigInt(BLOCK_BYTES_MIN) === 0n;
    const inside = offset + BigInt(length) <= BigInt(this.device.bytes);
    if (!whole || !inside) return type === CMD.write && !inside ? ERROR.nospc : ERROR.inval;
    return type === CMD.write && this.device.readOnly ? ERROR.perm : ERROR.none;
  }
}
