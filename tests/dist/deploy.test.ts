// SPDX-License-Identifier: Apache-2.0
// The examples in deploy/: the manifest asks for no privilege and probes what the exporter serves, the unit is what systemd accepts, and
// the container takes the tarball.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'smol-toml';
import { parseAllDocuments } from 'yaml';
import { onPath } from '../../scripts/gate/find-qemu.js';
import { ROOT } from '../../scripts/lib/paths.js';

type Yaml = Record<string, any>;
const read = (path: string): string => readFileSync(join(ROOT, 'deploy', path), 'utf8');
const documents = parseAllDocuments(read('kubernetes/daemonset.yaml'));
const objects = documents.map((document) => document.toJS() as Yaml);
const config = parse(objects.find(({ kind }) => kind === 'ConfigMap')!.data['vigil.toml']) as Yaml;
const pod = objects.find(({ kind }) => kind === 'DaemonSet')!.spec.template.spec as Yaml;
const container = pod.containers[0] as Yaml;

test('the manifest parses, with names that belong together', () => {
  for (const { errors, warnings } of documents) assert.deepEqual([errors, warnings], [[], []]);
  assert.deepEqual(objects.map(({ kind, metadata }) => [kind, metadata.name]), [['ConfigMap', 'vigil'], ['DaemonSet', 'vigil']]);
  assert.deepEqual(objects[1]!.spec.selector.matchLabels, objects[1]!.spec.template.metadata.labels);
  const volumes = pod.volumes.map(({ name }: Yaml) => name);
  assert.deepEqual(container.volumeMounts.map(({ name }: Yaml) => name), volumes);
  assert.equal(container.args[1], `${container.volumeMounts[0].mountPath}/vigil.toml`);
});

test('standalone needs no privilege: no host PIDs, no capability, no root, a read-only root', () => {
  assert.equal(config.receivers.dcgm.mode, 'standalone');
  for (const key of ['hostPID', 'hostIPC']) assert.equal(pod[key], undefined, key);
  const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities, privileged } = container.securityContext;
  assert.deepEqual({ allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities, privileged },
    { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] }, privileged: undefined });
  assert.deepEqual([pod.securityContext.runAsNonRoot, pod.automountServiceAccountToken], [true, false]);
  assert.doesNotMatch(read('kubernetes/daemonset.yaml'), /SYS_ADMIN|privileged: true/);
});

test('the exporter listens where the probes and the port look', () => {
  assert.equal(config.exporters.prometheus.listen, `0.0.0.0:${container.ports[0].containerPort}`);
  assert.equal(container.livenessProbe.httpGet.path, '/-/healthy');
  assert.equal(container.readinessProbe.httpGet.path, '/-/ready');
  for (const probe of [container.livenessProbe, container.readinessProbe]) assert.equal(probe.httpGet.port, container.ports[0].name);
});

test('the container takes the tarball, checks it, and runs as another user than root', () => {
  const lines = read('container/Containerfile');
  assert.match(lines, /^ADD vigil-\*-linux-\*\.tar\.gz \/opt\/$/m);
  assert.match(lines, /sha256sum --check --quiet SHA256SUMS/);
  const user = /^USER (\d+)$/m.exec(lines)![1];
  assert.equal(Number(user), pod.securityContext.runAsUser);
  assert.doesNotMatch(lines, /gcc|build-essential|npm (ci|install)/);
  assert.match(lines, /^ENTRYPOINT \["\/opt\/vigil\/vigil", "up", "--plain"\]$/m);
});

const analyze = onPath('systemd-analyze');
test('the unit is accepted by systemd, and exposes little', { skip: analyze === null ? 'systemd-analyze is missing' : false }, () => {
  const root = mkdtempSync(join(tmpdir(), 'vigil-unit-'));
  try {
    // The command of the unit must be there for the check: an empty one, in a copy that names it.
    const command = join(root, 'vigil');
    mkdirSync(root, { recursive: true });
    writeFileSync(command, '#!/bin/sh\n');
    chmodSync(command, 0o755);
    const unit = join(root, 'vigil.service');
    writeFileSync(unit, read('systemd/vigil.service').replace('/opt/vigil/vigil ', `${command} `));
    const verify = spawnSync(analyze!, ['verify', '--man=no', unit], { encoding: 'utf8' });
    assert.doesNotMatch(verify.stderr, /vigil\.service:\d+:|Unknown|Invalid|Failed to parse/);
    const offline = spawnSync(analyze!, ['security', '--offline=yes', '--threshold=25', unit], { encoding: 'utf8' });
    if (!/offline/i.test(offline.stderr)) assert.equal(offline.status, 0, offline.stdout.slice(-200));
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test('the unit starts the command with the configuration that the docs name, in folders of its own', () => {
  const unit = read('systemd/vigil.service');
  assert.match(unit, /^ExecStart=\/opt\/vigil\/vigil up --plain --config \/etc\/vigil\/vigil\.toml$/m);
  for (const line of ['DynamicUser=yes', 'ProtectSystem=strict', 'NoNewPrivileges=yes', 'CapabilityBoundingSet=']) {
    assert.ok(unit.split('\n').includes(line), line);
  }
  const state = /^StateDirectory=(.+)$/m.exec(unit)![1];
  assert.match(unit, new RegExp(`^Environment=VIGIL_STATE=/var/lib/${state}/state\\.img$`, 'm'));
});
