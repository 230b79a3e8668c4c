// SPDX-License-Identifier: Apache-2.0
// Owns: the page's part about the devices: one row each, and below all their values. Pure.
// Invariant: units stand in the headings or beside the value; each row says its source. Limits: the model's; what is left out is said.
import { html, type Html } from './html.js';
import type { Device, PageModel } from './model.js';
import { MISSING, orMissing, table, type Heading, type Row } from './parts.js';
import { number, quantity } from './units.js';

const HEADINGS: readonly Heading[] = [
  ['Device', false], ['Source', false], ['Model', false],
  ['Busy, %', true], ['Memory used', true], ['Power, W', true], ['Temperature, °C', true],
  ['Uncorrected ECC errors', true], ['XIDs seen', true], ['State', false], ['Used by', false], ['Id', false],
  ['PCI address', false],
];
const VALUE_HEADINGS: readonly Heading[] = [['Metric', false], ['Attributes', false], ['Value', true]];

function usersOf({ users, usersLeft }: Device): Html {
  if (users.length === 0) return MISSING;
  const more = usersLeft > 0 ? html`<br>and ${usersLeft} more` : null;
  return html`${users.map((name, i) => html`${i > 0 ? html`<br>` : null}${name}`)}${more}`;
}

function memoryOf({ memoryUsed, memoryLimit }: Device): Html {
  if (memoryUsed === null) return MISSING;
  return html`${quantity(memoryUsed, 'By')}${memoryLimit === null ? null : ` of ${quantity(memoryLimit, 'By')}`}`;
}

function rowOf(device: Device): Row {
  const { utilization, powerW, temperatureC, xids, uncorrected, status, source } = device;
  return [
    device.name, source === '' ? MISSING : source, device.model,
    orMissing(utilization, (value) => number(value * 100)), memoryOf(device), orMissing(powerW, number),
    orMissing(temperatureC, number), orMissing(uncorrected, number), orMissing(xids, number), status ?? MISSING, usersOf(device),
    html`<span class="id">${device.id}</span>`, html`<span class="id">${device.bdf}</span>`,
  ];
}

export function devicesSection({ devices, devicesLeft, valuesLeft, source }: PageModel): Html {
  const title = html`<h2 id="gpus">GPUs</h2>`;
  if (devices.length === 0) return html`<section aria-labelledby="gpus">${title}<p>No GPU is exported now.</p></section>`;
  const details = devices.map((device) => {
    const rows = device.values.map(({ metric, attributes, value, unit, share }) => [metric, attributes, quantity(value, unit, share)]);
    return html`<details><summary>${device.name}: all ${device.values.length} values</summary>
${table(`All values of ${device.name}, source ${device.source || source.label}`, VALUE_HEADINGS, rows)}</details>
`;
  });
  const more = html`see <a href="/metrics">/metrics</a>`;
  return html`<section aria-labelledby="gpus">${title}
${table(`GPUs, their instances and switches, newest values; source ${source.label}`, HEADINGS, devices.map(rowOf))}
${devicesLeft > 0 ? html`<p>${devicesLeft} more devices are exported and not listed here; ${more}.</p>` : null}
<h3>All values</h3>
${details}${valuesLeft > 0 ? html`<p>${valuesLeft} more values are exported and not listed here; ${more}.</p>` : null}</section>`;
}
