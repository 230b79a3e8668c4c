// SPDX-License-Identifier: Apache-2.0
// Owns: the effects of lifecycle.ts: boots guests, asks heartbeats, kills, keeps consoles, boots again.
// Invariant: after stop() resolved no guest runs and none will; a heartbeat counts only for the guest that it was asked of.
// Limits: one guest, one heartbeat under way, one timer.
import { randomBytes } from 'node:crypto';
import type { Guest, GuestEvent } from './guest.js';
import { begin, dueMs, step, type Cause, type Effect, type Input, type Lifecycle, type Rules, type Step } from './lifecycle.js';

const NONCE_BYTES = 8;

export type SupervisorEvent =
  /** `nonce`: what the kernel's last line of this boot would repeat */
  | { readonly kind: 'booting'; readonly boot: number; readonly nonce: string }
  | { readonly kind: 'up'; readonly boot: number; readonly tookMs: number; readonly pid: number }
  | { readonly kind: 'console'; readonly text: string }
  | { readonly kind: 'ended'; readonly boot: number; readonly cause: Cause; readonly detail: string; readonly retryMs: number;
    /** whether its console ever said anything */
    readonly spoke: boolean;
    /** where its console is kept, or why it is not */
    readonly transcript: { readonly path: string } | { readonly lost: string } };

/** What one boot needs and what is done with its end. */
export interface SupervisorOptions {
  readonly rules: Rules;
  /** starts QEMU @throws why it cannot be started */
  readonly boot: (nonce: string, say: (event: GuestEvent) => void) => Guest;
  /** resolves when the guest answered; names its first dead service */
  readonly ask: () => Promise<string | null>;
  readonly keep: (guest: Guest | null, boot: number, cause: Cause, detail: string) => { path: string } | { lost: string };
  readonly say: (event: SupervisorEvent) => void;
  readonly stopGraceMs: number;
  /** ms of a clock that only goes forward */
  readonly nowMs?: () => number;
}

export class Supervisor {
  private state: Lifecycle;
  private guest: Guest | null = null;
  private timer: NodeJS.Timeout | null = null;
  private asking = false;
  /** heartbeats without an answer */
  missed = 0;
  private readonly nowMs: () => number;

  constructor(private readonly options: SupervisorOptions) {
    this.nowMs = options.nowMs ?? (() => performance.now());
    const first = begin(this.nowMs());
    this.state = first.state;
    this.perform(first);
  }

  get lifecycle(): Lifecycle {
    return this.state;
  }
  get pid(): number | null {
    return this.guest?.pid ?? null;
  }
  /** When the last heartbeat was answered, in ms of the clock; null while the guest is not up. */
  get answeredMs(): number | null {
    return this.state.phase.kind === 'up' ? this.state.phase.answeredMs : null;
  }

  /** Ends the guest and boots no other. */
  async stop(): Promise<void> {
    this.input({ kind: 'stop' });
    await this.guest?.stop(this.options.stopGraceMs);
  }

  private input(input: Input): void {
    this.perform(step(this.state, input, this.nowMs(), this.options.rules));
  }

  private perform({ state, effects }: Step): void {
    this.state = state;
    for (const effect of effects) this.effect(effect);
    if (this.timer !== null) clearTimeout(this.timer);
    const due = dueMs(this.state, this.options.rules);
    // A ms later than due: a timer may fire a fraction early.
    this.timer = due === null ? null : setTimeout(() => { this.input({ kind: 'tick' }); }, Math.max(0, due - this.nowMs()) + 1);
  }

  private effect(effect: Effect): void {
    const { say, keep } = this.options;
    const boot = this.state.boots;
    switch (effect.kind) {
      case 'boot':
        this.boot();
        return;
      case 'ask':
        this.ask();
        return;
      case 'kill':
        this.guest?.kill();
        return;
      case 'up':
        say({ kind: 'up', boot, tookMs: effect.tookMs, pid: this.guest?.pid ?? 0 });
        return;
      case 'ended': {
        const { cause, detail, retryMs } = effect;
        const spoke = this.guest?.transcript.empty === false;
        const transcript = keep(this.guest, boot, cause, detail);
        this.guest = null;
        say({ kind: 'ended', boot, cause, detail, retryMs, spoke, transcript });
        return;
      }
    }
  }

  private boot(): void {
    const { boots } = this.state;
    const nonce = randomBytes(NONCE_BYTES).toString('hex');
    this.options.say({ kind: 'booting', boot: boots, nonce });
    let guest: Guest;
    try {
      guest = this.options.boot(nonce, (event) => { this.heard(boots, event); });
    } catch (error) {
      const why = (error as Error).message;
      // Not from within perform(): the state that asked for this boot must be in place first.
      setImmediate(() => { this.input({ kind: 'refused', why }); });
      return;
    }
    this.guest = guest;
    void guest.exited.then(({ status, signal, said }) => { this.input({ kind: 'exit', status, signal, said }); });
  }

  private heard(boot: number, event: GuestEvent): void {
    if (boot !== this.state.boots) return;
    if (event.kind === 'line') this.options.say({ kind: 'console', text: event.text });
    else this.input(event);
  }

  private ask(): void {
    if (this.asking) {
      this.missed++;
      return;
    }
    this.asking = true;
    const { guest } = this;
    this.options.ask().then(
      (dead) => {
        this.asking = false;
        if (guest !== null && guest === this.guest) this.input({ kind: 'answer', dead });
      },
      () => {
        this.asking = false;
        this.missed++;
      },
    );
  }
}
