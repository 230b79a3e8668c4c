// SPDX-License-Identifier: Apache-2.0
// `vigil up`: boots the guest, bridges it to the GPUs, exports what it makes of them, and keeps it running until it is told to stop.
// In a terminal a live table; elsewhere a line an event and a line a scrape. `--once`: one complete scrape, then the end.
// Invariant: whatever ends it, nothing that it started is left behind; a guest that ends is booted again and never ends the command.
// Exit codes: 0 stopped (or --once got its scrape), 1 a wrong configuration, or no fresh sample came (--once), 2 usage, 3 no QEMU, no
// image, a port or disk in use, or QEMU refused the first boot.
import { Option, type Command } from 'commander';
import { SOURCES } from '../../runtime/bridge/choose.js';
import { FLEETS } from '../../runtime/bridge/sources/fleets.js';
import { SCENARIOS } from '../../runtime/bridge/sources/scenarios.js';
import { CONFIG_OPTION } from '../command/config.js';
import { examples } from '../command/output.js';
import type { Job } from '../vigil.js';
import type { UpOptions } from '../up/run.js';

/** Registers `vigil up`. */
export function register(program: Command, run: (job: Job) => void): void {
  program.command('up').description('Run the machine: GPUs to OpenTelemetry and Prometheus, supervised.')
    .option(...CONFIG_OPTION)
    .option('--once', 'export one complete scrape, print it as a table, and end')
    .addOption(new Option('--source <kind>', 'where samples come from, instead of source.kind').choices(['auto', ...SOURCES]))
    .addOption(new Option('--fleet <name>', 'replay this scripted node').choices(Object.keys(FLEETS)))
    .addOption(new Option('--scenario <name>', 'and this is what happens on it').choices(Object.keys(SCENARIOS)))
    .option('--fields <csv>', "a dcgm-exporter counters file, instead of receivers.dcgm.fields_file")
    .option('--listen <address>', 'host:port of /metrics, instead of exporters.prometheus.listen')
    .option('--json', 'print JSON: a line an event and a scrape, or with --once one document')
    .option('--plain', 'plain lines in a terminal too')
    .addHelpText('after', examples(
      'up', 'up --config /etc/vigil/vigil.toml --plain', 'up --once --json', 'up --fleet nvl72-tray --scenario nvlink-degradation',
      'up --source dcgm --listen 0.0.0.0:9400',
    ))
    // Loaded when it runs: the other subcommands do not need a machine.
    .action((options: UpOptions) => run(async () => (await import('../up/run.js')).runUp(options)));
}
