#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// `vigil` as an executable: lets Node read TypeScript, then runs scripts/vigil.ts with the same arguments.
import { register } from 'tsx/esm/api';

register();
await import('./vigil.ts');
