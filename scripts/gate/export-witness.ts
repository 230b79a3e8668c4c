// SPDX-License-Identifier: Apache-2.0
// The gate's end of the export port: takes what the guest exports and keeps it as evidence, so that a proof sees its frames acknowledged.
// Invariant: the same guest gets the same answers: over_limit to the first metrics frame of the boot, once, then ok to all; what was
// taken is in the file whole, in order. Limits: KEPT_BYTES_MAX in the file; beyond that frames are refused with over_limit, so that a
// red line shows it.
import { appendFileSync } from 'node:fs';
import { connectExport, type Batch, type ExportLink, type MetricsPart, type Verdict } from '../../runtime/export/link.js';

const KEPT_BYTES_MAX = 16 << 20;

/** What stands before each request in the file: its kind (1 gpu, 2 self, 3 traces, 4 logs) u32, length u32, little-endian. */
export const EXPORTED_HEAD_BYTES = 8;

/** Connects to the export port once QEMU listens there; `file` gets every request that was taken. */
export function startExportWitness(socketPath: string, file: string): ExportLink {
  let kept = 0;
  let refusedOnce = false;
  const take = (kind: number, { request }: MetricsPart | Batch): Verdict => {
    if (kept + request.length > KEPT_BYTES_MAX) return 'over_limit';
    const head = Buffer.alloc(EXPORTED_HEAD_BYTES);
    head.writeUInt32LE(kind, 0);
    head.writeUInt32LE(request.length, 4);
    appendFileSync(file, Buffer.concat([head, request]));
    kept += head.length + request.length;
    return 'ok';
  };
  return connectExport(socketPath, {
    hello: () => undefined,
    metrics: (part) => {
      const first = !refusedOnce;
      refusedOnce = true;
      return first ? 'over_limit' : take(part.stream === 'gpu' ? 1 : 2, part);
    },
    traces: (batch) => take(3, batch),
    logs: (batch) => take(4, batch),
  });
}
