// SPDX-License-Identifier: Apache-2.0
// Basic authentication against bcrypt hashes. Invariant: an unknown user costs as much time as a wrong password; a right answer is kept
// for a while so that a scrape every few seconds does not cost a bcrypt round each, a wrong one never is.
// Limits: CACHE_MAX remembered answers of CACHE_MS; HEADER_BYTES_MAX of header.
import { createHash, randomBytes } from 'node:crypto';
import bcrypt from 'bcryptjs';

const CACHE_MAX = 64;
const CACHE_MS = 60_000;
const HEADER_BYTES_MAX = 1024;
const COST = 10;

export class Authenticator {
  private readonly known = new Map<string, number>();
  /** A hash of what nobody knows, of the usual cost: what an unknown user's password is compared with. */
  private readonly nobody = bcrypt.hash(randomBytes(16).toString('hex'), COST);

  constructor(private readonly users: ReadonlyMap<string, string>) {}

  /** Whether the Authorization header names a user with the right password. */
  async allows(header: string | undefined, nowMs: number = Date.now()): Promise<boolean> {
    const text = /^Basic ([A-Za-z0-9+/=]+)$/.exec(header ?? '')?.[1];
    if (text === undefined || text.length > HEADER_BYTES_MAX) return false;
    const pair = Buffer.from(text, 'base64').toString('utf8');
    const at = pair.indexOf(':');
    if (at < 0) return false;
    const [user, password] = [pair.slice(0, at), pair.slice(at + 1)];
    const key = createHash('sha256').update(pair).digest('hex');
    const until = this.known.get(key);
    if (until !== undefined && until > nowMs && this.users.has(user)) return true;
    const right = await bcrypt.compare(password, this.users.get(user) ?? (await this.nobody));
    if (!right || !this.users.has(user)) return false;
    if (this.known.size >= CACHE_MAX) this.known.delete(this.known.keys().next().value!);
    this.known.set(key, nowMs + CACHE_MS);
    return true;
  }
}
