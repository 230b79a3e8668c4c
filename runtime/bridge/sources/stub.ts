// SPDX-License-Identifier: Apache-2.0
// Owns: the source that has nothing. Invariant: every method but close refuses with `unavailable`. Limits: none.
import { SourceError, type Source } from '../source.js';

/** A source that refuses everything; close is idempotent. */
export class StubSource implements Source {
  readonly label = 'stub';
  connect(): never { return refuse(); }
  startEmbedded(): never { return refuse(); }
  enumerate(): never { return refuse(); }
  watch(): never { return refuse(); }
  latestValues(): never { return refuse(); }
  version(): never { return refuse(); }
  close(): void { /* nothing is ever open */ }
}

function refuse(): never {
  throw new SourceError('unavailable', 'the stub source has no engine');
}
