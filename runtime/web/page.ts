// SPDX-License-Identifier: Apache-2.0
// Owns: the page as HTML: its frame and the order of its sections. Pure.
// Invariant: every value goes through the template that escapes; what is missing says so in words; the source of the figures is said at the
// top, in the title and in each row. Limits: those of the model and of the history.
import { devicesSection } from './devices-section.js';
import { historySection, type HistoryView } from './history-section.js';
import { html, sourceText, type Html } from './html.js';
import type { PageModel } from './model.js';
import { REFRESHES, choiceLink, type RefreshS } from './parts.js';
import { exporterSection, receiverSection, standingSection } from './state-sections.js';
import { STYLE } from './style.js';

export interface PageView {
  readonly model: PageModel; readonly history: HistoryView;
  readonly refreshS: RefreshS;
  /** wall clock, ms */
  readonly nowMs: number;
}

/** What a source means to somebody who reads its figures. */
const SOURCES: Readonly<Record<string, string>> = {
  replay: 'These figures are recorded or scripted. They are NOT measurements of this machine.',
  stub: 'There is no source of figures: the stub answers nothing.',
  nvml: 'Read from the driver\'s own library (NVML), not through DCGM: GPUs alone, fewer figures.',
};
const SECTIONS = [
  ['standing', 'Where things stand'], ['gpus', 'GPUs'], ['history', 'History'], ['receiver', 'Receiver'], ['exporter', 'Exporter'],
] as const;

function sourceNote({ label, name, detail }: PageModel['source']): Html {
  const means = SOURCES[label] ?? null;
  const state = name === 'ready' ? null : html`Its state is <b>${name}</b>${detail === '' ? null : html`: ${detail}`}.`;
  if (means === null && state === null) return html`<p>Source: <b>${label}</b>.</p>`;
  const both = means === null || state === null ? null : ' ';
  return html`<p class="note"><strong>Source: ${label.toUpperCase()}.</strong> ${means}${both}${state}</p>`;
}

function refreshNav({ refreshS, history: { level } }: PageView): Html {
  const name = (every: number): string => (every === 0 ? 'off' : `every ${every} s`);
  const links = REFRESHES.map((every) => choiceLink(name(every), { refreshS: every, level }, every === refreshS));
  const now = choiceLink('now', { refreshS, level }, false);
  return html`<nav aria-label="Refresh"><ul><li>Refresh this page:</li>${links}${now}</ul></nav>`;
}

function head({ model, refreshS }: PageView, title: string): Html {
  const { label } = model.source;
  return html`<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">${refreshS === 0 ? null : html`<meta http-equiv="refresh" content="${refreshS}">`}
<title>${label === 'dcgm' ? null : `[${label.toUpperCase()}] `}${title} - Vigil</title>
<link rel="icon" href="data:,"><style>${sourceText(STYLE)}</style></head>`;
}

/** The whole document. */
export function renderPage(view: PageView): string {
  const { model, nowMs } = view;
  const at = new Date(nowMs).toISOString();
  const title = html`GPUs of ${model.host === '' ? 'this node' : model.host}`;
  return html`<!DOCTYPE html>
<html lang="en">${head(view, `GPUs of ${model.host === '' ? 'this node' : model.host}`)}
<body><a class="skip" href="#main">Skip to the content</a>
<header><h1>${title}</h1>${sourceNote(model.source)}
<p class="soft">Vigil ${model.version}, as of <time datetime="${at}">${at.slice(0, 19).replace('T', ' ')} UTC</time></p></header>
<nav aria-label="Sections"><ul>${SECTIONS.map(([id, text]) => html`<li><a href="#${id}">${text}</a></li>`)}</ul></nav>
${refreshNav(view)}
<main id="main" tabindex="-1">
${standingSection(model)}
${devicesSection(model)}
${historySection(view)}
${receiverSection(model)}
${exporterSection(model)}
</main>
<footer><ul><li><a href="/metrics">/metrics</a>, for Prometheus</li>
<li><a href="/-/ready">/-/ready</a>, whether fresh samples are exported</li>
<li><a href="/-/healthy">/-/healthy</a>, whether this process serves</li></ul></footer>
</body></html>
`.text;
}
