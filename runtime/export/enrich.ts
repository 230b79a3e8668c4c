// SPDX-License-Identifier: Apache-2.0
// Owns: who uses a GPU, put on its points (seed checklist: pod, namespace, container; HPC job).
// Invariant: no point is lost for it: the points of an entity that nobody is known to use stay as they are, and a second user's copy is
// made only while the scrape stays within its cap; what does not fit is left out whole (one user's copy of one entity) and counted.
// Limits: `seriesMax` points in the scrape after copying (receivers.dcgm.max_series_per_scrape).
import type { Attributor } from '../attribution/attributor.js';
import { pointCount, type Attributes, type Resource, type Value } from './otlp/model.js';

export interface Enriched { readonly resources: readonly Resource[]; readonly attributed: number; readonly leftOut: number }

/** The points of a resource once for each user; a key that a point has already keeps the receiver's value. */
function forUsers(resource: Resource, users: readonly ReadonlyMap<string, string>[]): Resource {
  const of = <T extends { attributes: Attributes }>(rows: readonly T[]): T[] =>
    users.flatMap((user) => rows.map((row) => ({ ...row, attributes: new Map<string, Value>([...user, ...row.attributes]) })));
  const scopes = resource.scopes.map((scope) => ({
    ...scope, metrics: scope.metrics.map((metric) => ({ ...metric, points: of(metric.points), histograms: of(metric.histograms) })),
  }));
  return { ...resource, scopes };
}

/** `attributed`: points with a user; `leftOut`: copies of points that the cap left no room for. */
export function enrich(resources: readonly Resource[], attributor: Attributor, seriesMax: number): Enriched {
  let [room, attributed, leftOut] = [Math.max(0, seriesMax - pointCount(resources)), 0, 0];
  const out = resources.map((resource) => {
    const users = attributor.attributes(resource.attributes);
    if (users.length === 0) return resource;
    const points = pointCount([resource]);
    const copies = points === 0 ? 0 : Math.min(users.length - 1, Math.floor(room / points));
    room -= copies * points;
    leftOut += (users.length - 1 - copies) * points;
    attributed += (1 + copies) * points;
    return forUsers(resource, users.slice(0, 1 + copies));
  });
  return { resources: out, attributed, leftOut };
}
