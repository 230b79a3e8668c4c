// SPDX-License-Identifier: Apache-2.0
// Owns: the proof that the guest emits, for each reference fleet, exactly the series that the tables say, and the figures themselves.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cardinalities, cardinality, fitsDefaultCap } from './cardinality.js';
import { newGuest } from './guest.js';
import { Node } from './nodes.js';

test('the guest emits what the tables say, by group', () => {
  for (const { fleet, groups, byGroup, total, steady } of cardinalities()) {
    const guest = newGuest();
    if (groups === 'all') guest.allGroups();
    guest.seriesMax(4096);
    const node = new Node(guest, fleet);
    node.at(0);
    const tally = node.at(15);
    assert.deepEqual([tally.series, tally.dropped], [steady, 0], `${fleet} ${groups}`);
    const found: Record<string, number> = {};
    for (const { group } of guest.series()) found[group] = (found[group] ?? 0) + 1;
    for (const group of ['xid', 'nvswitch']) { // codes are counted, and not there on a healthy node
      const codes = (byGroup[group] ?? 0) - (found[group] ?? 0);
      assert.ok(codes >= 0 && codes <= total - steady, `${fleet} ${groups} ${group}`);
      found[group] = byGroup[group] ?? 0;
    }
    assert.deepEqual(Object.entries(found).filter(([, count]) => count > 0).sort(), Object.entries(byGroup).sort(), `${fleet} ${groups}`);
    assert.ok(guest.call('estimate') >= total, `${fleet} ${groups}: the estimate is an upper bound`);
  }
});

/** Series with codes, series of a healthy node, whether the default cap of 1,024 holds the first. */
const FIGURES = {
  'h100x8 default': [552, 536, true], 'h100x8 all': [1296, 1280, false], 'nvl72-tray default': [260, 256, true], 'nvl72-tray all': [632, 628, true],
  'a100-mig default': [696, 632, true], 'a100-mig all': [1688, 1624, false], 'consumer default': [19, 18, true], 'consumer all': [23, 22, true],
};

test('the figures that the documents quote', () => {
  const figures = Object.fromEntries(cardinalities().map((row) => [`${row.fleet} ${row.groups}`, [row.total, row.steady, fitsDefaultCap(row)]]));
  assert.deepEqual(figures, FIGURES);
  const { memory, xid } = cardinality('a100-mig', 'default').byGroup;
  assert.deepEqual([memory, xid], [(8 + 56) * 4, 8 + 8 + 56], 'memory and XID of GPUs and instances, and a state of each GPU');
});

