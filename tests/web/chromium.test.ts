// SPDX-License-Identifier: Apache-2.0
// The page in a real headless Chromium, through the exporter's own server with its security policy: accessibility by axe-core, the keyboard,
// light, dark, printed and narrow, refreshing, and that nothing is run or loaded. Skipped by name where there is no browser.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { startExporter, type Exporter } from '../../runtime/export/exporter.js';
import { webPages } from '../../runtime/web/index.js';
import { Browser, skip } from './chromium.js';
import { NOW_MS, fakeHistory, makeNode, receiverMetrics, type TestNode } from './node.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const MOST_TABS = 400;

interface Violation { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }

describe('the page in Chromium', { skip }, () => {
  let browser: Browser;
  const exporters: Exporter[] = [];
  const nodes: TestNode[] = [];
  before(async () => { browser = await Browser.start(); });
  after(async () => {
    await browser.close();
    await Promise.all(exporters.map((exporter) => exporter.close()));
    await Promise.all(nodes.map(({ agent }) => agent.close(0)));
  });

  async function serve(made: TestNode, history = fakeHistory(2).source): Promise<string> {
    nodes.push(made);
    const pages = webPages({ agent: made.agent, history, wallMs: () => NOW_MS });
    const exporter = await startExporter(made.agent, { listen: '127.0.0.1:0', webConfigFile: '', dcgmNames: false, translation: 'UnderscoreEscapingWithSuffixes' }, pages);
    exporters.push(exporter);
    return exporter.url;
  }
  function full(): TestNode {
    const made = makeNode({ users: [new Map([['k8s.pod.name', 'train'], ['k8s.namespace.name', 'ml'], ['k8s.container.name', 'main']])] });
    made.sendGpus(2);
    made.sendSelf(receiverMetrics(1, { read: 3 }));
    made.agent.own.add('vigil.guest.restarts', { cause: 'panic' }, 1);
    return made;
  }

  async function violations(): Promise<Violation[]> {
    await browser.evaluate(`${AXE}; true`);
    return browser.evaluate<Violation[]>('axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations)');
  }

  test('axe-core finds nothing, in every state and both colour schemes', async () => {
    const held = makeNode();
    held.sendGpus(2);
    held.agent.hold('panic: page fault');
    const states: [string, string][] = [
      ['in order', await serve(full())], ['no sample, a stub', await serve(makeNode({ source: { label: 'stub', name: 'unavailable', detail: 'no engine' } }))],
      ['the guest is down', await serve(held, async () => { throw new Error('no guest is running'); })],
    ];
    for (const [name, url] of states) {
      for (const scheme of ['light', 'dark'] as const) {
        await browser.scheme(scheme);
        await browser.open(`${url}?window=60s`);
        await browser.evaluate('document.querySelectorAll("details").forEach((one) => { one.open = true; })');
        const found = await violations();
        assert.deepEqual(found.map(({ id, impact, nodes: [node] }) => `${id} (${impact}): ${node?.html} ${node?.failureSummary}`), [], `${name}, ${scheme}`);
      }
    }
    await browser.scheme('light');
  });

  test('axe-core would find something: a canary', async () => {
    await browser.open(await serve(full()));
    await browser.evaluate('document.documentElement.removeAttribute("lang"); document.querySelector("main").insertAdjacentHTML("beforeend", "<p style=\\"color:#bbb;background:#fff\\">pale</p>")');
    assert.deepEqual((await violations()).map(({ id }) => id).sort(), ['color-contrast', 'html-has-lang']);
  });

  test('nothing is run, nothing is loaded, nothing is refused by the policy', async () => {
    const evil = '"><script>document.title="run"</script><img src="http://127.0.0.1:9/x">';
    const made = makeNode({ hostName: evil, attributes: { 'hw.model': evil } });
    made.sendGpus(1);
    const url = await serve(made, fakeHistory(1, 3, () => `hw.gpu.index=${evil}\nhw.id=x`).source);
    browser.said.length = 0;
    browser.requests.length = 0;
    await browser.open(url);
    assert.deepEqual(browser.said, []);
    assert.deepEqual(browser.requests.filter((one) => !one.startsWith('data:')), [url]);
    assert.deepEqual(await browser.evaluate('[document.scripts.length, document.images.length, document.title.includes("<script>")]'), [0, 0, true]);
    assert.equal(await browser.evaluate('getComputedStyle(document.body).maxWidth + getComputedStyle(document.querySelector("caption")).textAlign'), 'noneleft', 'the style sheet is in force');
  });

  test('the keyboard: skip link first, everything in document order with a visible frame, and back', async () => {
    await browser.width(1280);
    await browser.open(await serve(full()));
    const here = `(() => { const at = document.activeElement; if (at === document.body) return null;
      const stops = [...document.querySelectorAll('a[href],summary,[tabindex="0"]')].filter((one) => one.checkVisibility());
      const style = getComputedStyle(at); const box = at.getBoundingClientRect();
      return { place: stops.indexOf(at), stops: stops.length, text: at.textContent.slice(0, 40), frame: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
        seen: box.width > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight }; })()`;
    interface Stop { place: number; stops: number; text: string; frame: boolean; seen: boolean }
    const visited: Stop[] = [];
    for (let i = 0; i < MOST_TABS; i++) {
      await browser.key('Tab');
      const stop = await browser.evaluate<Stop | null>(here);
      if (stop === null || (visited.length > 0 && stop.place === 0)) break;
      visited.push(stop);
    }
    assert.equal(visited[0]!.text, 'Skip to the content');
    assert.deepEqual(visited.map(({ place }) => place), Array.from({ length: visited[0]!.stops }, (_, i) => i));
    assert.deepEqual(visited.filter(({ frame, seen }) => !frame || !seen), []);
    await browser.open(await serve(full()));
    await browser.key('Tab');
    await browser.key('Enter');
    assert.equal(await browser.evaluate('document.activeElement.id'), 'main');
    await browser.key('Tab');
    assert.equal(await browser.evaluate('document.querySelector("main").contains(document.activeElement)'), true);
    await browser.evaluate('document.querySelector("summary").focus()');
    assert.equal(await browser.evaluate('document.querySelector("details").open'), false);
    await browser.key('Enter');
    assert.equal(await browser.evaluate('document.querySelector("details").open'), true);
    await browser.key('Tab');
    assert.match(await browser.evaluate<string>('document.activeElement.getAttribute("aria-label")'), /^All values of GPU 0/);
    await browser.key('Tab', true);
    assert.equal(await browser.evaluate('document.activeElement.tagName'), 'SUMMARY');
  });

  test('the accessibility tree: landmarks, headings, tables with headings, drawings with words', async () => {
    await browser.open(await serve(full()));
    const { nodes: tree } = await browser.ask('Accessibility.getFullAXTree') as { nodes: { ignored: boolean; role?: { value: string }; name?: { value: string } }[] };
    const names = (role: string): string[] => tree.filter((node) => !node.ignored && node.role?.value === role).map(({ name }) => name?.value ?? '');
    assert.deepEqual(names('main').length, 1);
    assert.deepEqual(names('banner').length, 1);
    assert.deepEqual(names('contentinfo').length, 1);
    assert.deepEqual(names('navigation'), ['Sections', 'Refresh', 'Span of the history']);
    assert.deepEqual(names('heading').slice(0, 3), ['GPUs of gpu-node-1', 'Where things stand', 'GPUs']);
    assert.ok(names('table').some((name) => name.startsWith('GPUs, their instances')), names('table').join('\n'));
    assert.ok(names('rowheader').includes('GPU 0') && names('columnheader').includes('Power, W'));
    assert.ok([...names('image'), ...names('img')].some((name) => /^GPU 0, hw\.power: lowest .* W, mean/.test(name)));
  });

  test('refresh reloads when chosen and stops when switched off', async () => {
    const url = await serve(full());
    await browser.open(url);
    const link = (text: string): string => `[...document.links].find((one) => one.textContent === ${JSON.stringify(text)}).click()`;
    await browser.loaded(() => browser.evaluate(link('every 10 s')));
    assert.equal(await browser.evaluate('location.search'), '?refresh=10&window=10s');
    await browser.loaded(async () => undefined);
    assert.equal(await browser.evaluate('location.search'), '?refresh=10&window=10s', 'the reload kept the choice');
    await browser.loaded(() => browser.evaluate(link('off')));
    assert.equal(await browser.evaluate('document.querySelector("meta[http-equiv]")'), null);
  });

  test('narrow, zoomed and printed: the page does not scroll sideways, light and dark differ, print leaves the links out', async () => {
    const url = await serve(full());
    for (const width of [320, 640, 1280]) {
      await browser.width(width);
      await browser.open(url);
      assert.ok(await browser.evaluate<boolean>('document.documentElement.scrollWidth <= innerWidth'), `${width} px`);
    }
    const shots = new Map<string, Buffer>();
    for (const scheme of ['light', 'dark'] as const) {
      await browser.scheme(scheme);
      shots.set(scheme, await browser.screenshot());
    }
    for (const shot of shots.values()) assert.ok(shot.subarray(1, 4).toString() === 'PNG' && shot.length > 20_000, `${shot.length} bytes`);
    assert.notDeepEqual(shots.get('light'), shots.get('dark'));
    await browser.scheme('light', 'print');
    assert.deepEqual(await browser.evaluate('[...document.querySelectorAll("nav,.skip")].map((one) => getComputedStyle(one).display)'), ['none', 'none', 'none', 'none']);
    await browser.scheme('light');
  });
});
