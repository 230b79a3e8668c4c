// SPDX-License-Identifier: Apache-2.0
// Owns: the conversion of a dcgm-exporter scrape (Prometheus text) into a capture file (docs/format/bridge.md).
// Invariant: every line becomes exactly one sample or the conversion fails with its line number; nothing is guessed but the
// capture's instant, which a scrape does not carry and which is therefore written as 0.
// Limits: the fields of abi/bridge.toml; 4,096 lines. Usage: tsx scripts/convert-capture.ts IN.prom OUT.json PROVENANCE
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { fields } from '../runtime/bridge/protocol.js';
import { renderCapture as render, type Capture } from '../runtime/bridge/sources/replay.js';

export { render };

const LINES_MAX = 4096;
const ENTITY_GROUP_GPU = 1;
const LINE = /^([A-Za-z_:][A-Za-z0-9_:]*)\{(.*)\} (\S+)$/;
const LABEL = /([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y;

/** Parses one label set. Throws on anything left over. */
export function parseLabels(text: string): Map<string, string> {
  const labels = new Map<string, string>();
  let at = 0;
  while (at < text.length) {
    LABEL.lastIndex = at;
    const match = LABEL.exec(text);
    if (match === null) throw new Error(`bad label at column ${at}`);
    if (labels.has(match[1]!)) throw new Error(`label ${match[1]!} twice`);
    labels.set(match[1]!, match[2]!.replace(/\\(["\\n])/g, (_, c: string) => (c === 'n' ? '\n' : c)));
    at = LABEL.lastIndex;
  }
  return labels;
}

/** Converts a scrape. Throws Error with the line number of what it does not understand. */
export function convert(text: string, provenance: string): Capture {
  const entities = new Map<number, Capture['entities'][number]>();
  const samples: Capture['samples'][number][] = [];
  const lines = text.split('\n');
  if (lines.length > LINES_MAX) throw new Error(`more than ${LINES_MAX} lines`);
  lines.forEach((line, index) => {
    if (line === '' || line.startsWith('#')) return;
    try {
      convertLine(line, entities, samples);
    } catch (error) {
      throw new Error(`line ${index + 1}: ${(error as Error).message}`);
    }
  });
  return {
    schema: 'vigil-gpu-capture-1', provenance, capturedUs: '0', dcgmVersion: 'unknown',
    entities: [...entities.values()].sort((a, b) => a.id - b.id),
    samples: samples.sort((a, b) => a.entityId - b.entityId || a.fieldId - b.fieldId),
  };
}

function convertLine(line: string, entities: Map<number, Capture['entities'][number]>, samples: Capture['samples'][number][]): void {
  const match = LINE.exec(line);
  if (match === null) throw new Error('not NAME{LABELS} VALUE');
  const [, name, labelText, valueText] = match;
  const field = fields.find((row) => row.prom === name);
  if (field === undefined) throw new Error(`${name!} is not a field of abi/bridge.toml`);
  const labels = parseLabels(labelText!);
  const take = (key: string): string => {
    const value = labels.get(key);
    if (value === undefined) throw new Error(`label ${key} is missing`);
    return value;
  };
  if (!/^\d+$/.test(take('gpu'))) throw new Error('label gpu is not a number');
  const id = Number(take('gpu'));
  const entity = { group: ENTITY_GROUP_GPU, id, uuid: take('UUID'), model: take('modelName'), bdf: take('pci_bus_id'),
    driver: take('DCGM_FI_DRIVER_VERSION') };
  const known = entities.get(id);
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(entity)) throw new Error(`gpu ${id} changes its identity`);
  entities.set(id, entity);
  const isNumber = field.type === 'int64' ? /^-?\d+$/ : /^-?\d+(\.\d+)?$/;
  if (!isNumber.test(valueText!)) throw new Error(`${valueText!} is not ${field.type}`);
  if (samples.some((sample) => sample.entityId === id && sample.fieldId === field.id)) throw new Error(`${name!} of gpu ${id} twice`);
  samples.push({ group: ENTITY_GROUP_GPU, entityId: id, fieldId: field.id, type: field.type, status: 0, tsUs: '0',
    value: field.type === 'int64' ? valueText! : String(Number(valueText!)) });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [input, output, provenance] = process.argv.slice(2);
  if (input === undefined || output === undefined || provenance === undefined) {
    console.error('usage: tsx scripts/convert-capture.ts IN.prom OUT.json PROVENANCE');
    process.exit(2);
  }
  writeFileSync(output, render(convert(readFileSync(input, 'utf8'), provenance)));
}
