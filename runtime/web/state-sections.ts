// SPDX-License-Identifier: Apache-2.0
// Owns: the page's parts about Vigil itself: where things stand, the receiver, the exporter. Pure.
// Invariant: a state is said in words, with its reason where there is one; an unknown is called unknown. Limits: the model's.
import { html, type Html } from './html.js';
import type { PageModel } from './model.js';
import { MISSING, countTable, orMissing, table, yesNo, type Heading } from './parts.js';
import { duration, number } from './units.js';

function restartsOf({ restarts }: PageModel['guest']): string {
  if (restarts.length === 0) return 'unknown';
  const some = restarts.filter(({ value }) => value !== 0 && value !== null);
  const total = some.reduce((sum, { value }) => sum + (value ?? 0), 0);
  return total === 0 ? 'none' : `${number(total)} (${some.map(({ name, value }) => `${name} ${number(value ?? 0)}`).join(', ')})`;
}

export function standingSection({ ready, guest, receiver, sampleAgeS }: PageModel): Html {
  const boots = guest.boots === null ? null : `, booted ${number(guest.boots)} ${guest.boots === 1 ? 'time' : 'times'}`;
  return html`<section aria-labelledby="standing"><h2 id="standing">Where things stand</h2>
${ready.ready ? html`<p><b>Ready:</b> fresh samples are exported.</p>` : html`<p class="note"><strong>Not ready.</strong> ${ready.why}</p>`}
<dl><dt>Newest sample</dt><dd>${sampleAgeS === null ? 'none yet' : `${duration(sampleAgeS)} old`}</dd>
<dt>Receiver</dt><dd>${yesNo(receiver.degraded, 'degraded', 'working')}</dd>
<dt>Guest</dt><dd>${yesNo(guest.up, 'up', 'down or starting')}${boots}</dd>
<dt>Restarts of the guest</dt><dd>${restartsOf(guest)}</dd></dl></section>`;
}

const USING_HEADINGS: readonly Heading[] = [['Attribution and its state', false], ['Attributes now', false]];
const KIND_HEADINGS: readonly Heading[] = [['Kind', false], ['Count', true], ['Degrades', false], ['Meaning', false]];

export function receiverSection({ receiver }: PageModel): Html {
  const { kinds, samples, dropped, emissions, lastActivityS, degraded } = receiver;
  const rows = kinds.map(({ name, about, degrades, value }) => [name, orMissing(value, number), degrades ? 'yes' : 'no', about]);
  return html`<section aria-labelledby="receiver"><h2 id="receiver">Receiver</h2>
<dl><dt>State</dt><dd>${yesNo(degraded, 'degraded', 'working')}</dd>
<dt>Scrapes handed on</dt><dd>${orMissing(emissions, number)}</dd>
<dt>Last activity</dt><dd>${lastActivityS === null ? MISSING : `${duration(lastActivityS)} ago`}</dd></dl>
${table('Errors of the receiver by kind, since it started', KIND_HEADINGS, rows)}
${samples.length > 0 ? countTable('What became of samples', 'Status', samples) : null}
${dropped.length > 0 ? countTable('Series left out at the cap, by group', 'Group', dropped) : null}</section>`;
}

export function exporterSection({ exporter }: PageModel): Html {
  const { connected, scrapes, series, requests, lost, attributions } = exporter;
  const using = attributions.map(({ name, value }) => [name, value === 1 ? 'yes' : 'no']);
  return html`<section aria-labelledby="exporter"><h2 id="exporter">Exporter</h2>
<dl><dt>Link to the guest</dt><dd>${yesNo(connected, 'connected', 'not connected')}</dd>
<dt>GPU scrapes taken</dt><dd>${orMissing(scrapes, number)}</dd>
<dt>Series in the newest</dt><dd>${orMissing(series, number)}</dd></dl>
${requests.length > 0 ? countTable('Requests to the collector', 'Signal and outcome', requests)
    : html`<p>No collector is configured.</p>`}
${lost.length > 0 ? countTable('Dropped or refused', 'Signal and reason', lost) : html`<p>Nothing was dropped or refused.</p>`}
${using.length > 0 ? table('Who uses the GPUs', USING_HEADINGS, using) : null}</section>`;
}
