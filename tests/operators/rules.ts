// SPDX-License-Identifier: Apache-2.0
// Owns: reading deploy/prometheus/alerts.yaml as data, strictly. Not a test by itself.
// Invariant: an unknown key throws. Limits: alert rules alone; there are no recording rules.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { ROOT } from '../../scripts/lib/paths.js';

const rule = z.strictObject({
  alert: z.string(), expr: z.string(), for: z.string().optional(), labels: z.strictObject({ severity: z.enum(['critical', 'warning']) }),
  annotations: z.strictObject({ summary: z.string().min(10), runbook_url: z.string() }),
});
export type Rule = z.infer<typeof rule>;
const file = z.strictObject({ groups: z.array(z.strictObject({ name: z.string(), rules: z.array(rule) })) });

export const FOLDER = join(ROOT, 'deploy/prometheus');
export const parseRules = (text: string): Rule[] => file.parse(parse(text)).groups.flatMap(({ rules }) => rules);
export const alertRules = (): Rule[] => parseRules(readFileSync(join(FOLDER, 'alerts.yaml'), 'utf8'));
