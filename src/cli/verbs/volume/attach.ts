import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Cluster } from '../../../client/index.js';
import { asRawstorError, RawstorError } from '../../../common/errors.js';
import { runService } from '../../../common/lifecycle.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { callControl } from '../../gateway/control.js';
import { type FoundGateway, findGateway } from '../../gateway/find.js';
import { Gateway } from '../../gateway/gateway.js';
import { openVolume } from '../../gateway/let-go.js';
import { type Accelerator, type ExportPlace, libvirtDisk, qemuCommand, uriOf } from '../../gateway/print.js';
import { takeOver } from '../../gateway/take-over.js';
import { KEY_OPTIONS } from '../../keys.js';
import { openCommandLog } from '../../logging.js';
import { YES } from '../../options.js';
import { namedSnapshot, type SnapshotRef, splitSnapshotRef } from '../../snapshots.js';
import { attachVhost } from '../../vhost/attach.js';
import { volumeInfo } from '../../volumes.js';

interface Options {
  nbd: boolean;
  vhost: boolean;
  print: 'uri' | 'qemu' | 'libvirt';
  accel: Accelerator;
  run?: string;
  foreground: boolean;
  socket?: string;
  standby: boolean;
  force: boolean;
  acceptLoss: boolean;
  yes: boolean;
}

const LET_GO_MS = 1000;
const LET_GO_RETRY_MS = 50;

export const attach = defineVerb<Options>({
  name: 'attach',
  summary: 'tell how to use a volume over NBD or vhost-user, or serve it from here',
  description:
    "A volume is an export of the cluster's NBD gateway by its name; it is opened when a client connects. " +
    'With --foreground or --socket it is served by this process, until Ctrl-C. With --run a command gets its ' +
    'address as $uri and the volume is detached when the command has ended.',
  arguments: [{ name: 'volume', help: 'name or id; VOLUME@SNAPSHOT reads a snapshot' }],
  options: [
    ...KEY_OPTIONS,
    { flags: '--nbd', help: 'over NBD (the default)', default: true },
    {
      flags: '--vhost',
      help: 'over vhost-user: served by this process, until Ctrl-C, unless `rawstor vhost` does on that socket',
      default: false,
    },
    {
      flags: '--print <what>',
      help: 'what is printed: the NBD URI (or vhost-user socket), a QEMU command, or the <disk> of a libvirt domain',
      choices: ['uri', 'qemu', 'libvirt'],
      default: 'uri',
    },
    {
      flags: '--accel <kind>',
      help: 'accelerator in the QEMU command; auto is kvm where it can be opened',
      choices: ['auto', 'kvm', 'tcg'],
      default: 'auto',
    },
    { flags: '--run <command>', help: 'shell command to run with $uri, $socket and $export set' },
    { flags: '--foreground', help: 'serve from this process', default: false },
    { flags: '--socket <path>', help: 'Unix socket to serve on from this process' },
    {
      flags: '--standby',
      help: 'with --vhost: where another process has the volume, wait until its guest is moved here',
      default: false,
    },
    {
      flags: '-f, --force',
      help: 'take it from whoever has it open, who is shut out and gets errors',
      default: false,
    },
    {
      flags: '--accept-loss',
      help: 'go on without replicas that are away and may have newer data; a loss is recorded',
      default: false,
    },
    { ...YES, help: 'do not ask whether the loss is accepted' },
  ],
  examples: [
    { command: 'rawstor-volume attach vm1 --nbd --print qemu', what: 'a QEMU command to paste' },
    {
      command: 'rawstor-volume attach vm1 --run \'nbdinfo "$uri"\'',
      what: 'a tool that speaks NBD',
    },
  ],
  async run(context, [ref], options) {
    const cluster = await context.cluster();
    const snapshotOf = splitSnapshotRef(ref!);
    if (snapshotOf !== null) return await attachSnapshot(context, cluster, snapshotOf, options);
    const volume = await volumeInfo(cluster, ref!, context.globals.timeout);
    const { name } = volume;
    if (options.vhost) {
      if (options.force || options.acceptLoss) await takeOver(context, volume, options, null);
      return await attachVhost(context, name, options);
    }
    if (options.foreground || options.socket !== undefined) {
      await takeOver(context, volume, options, null);
      return await fromHere(context, name, options);
    }
    const gateway = await findGateway(context);
    await takeOver(context, volume, options, gateway);
    return await atGateway(context, gateway, name, options);
  },
});

/** Nobody is in the way of who only reads, and nobody is shut out. */
async function attachSnapshot(
  context: Context,
  cluster: Cluster,
  ref: SnapshotRef,
  options: Options,
): Promise<number> {
  if (options.force || options.acceptLoss) {
    throw new RawstorError('USAGE', 'a snapshot is only read: there is nothing to take or to give up');
  }
  const volume = await volumeInfo(cluster, ref.volume, context.globals.timeout);
  const name = `${volume.name}@${namedSnapshot(volume, ref.snapshot).name}`;
  if (options.vhost) return await attachVhost(context, name, options);
  if (options.foreground || options.socket !== undefined) return await fromHere(context, name, options);
  return await atGateway(context, await findGateway(context), name, options);
}

async function atGateway(
  context: Context,
  gateway: FoundGateway,
  name: string,
  options: Options,
): Promise<number> {
  const place = { address: gateway.address, name };
  if (options.run === undefined) {
    print(context, place, options);
    return 0;
  }
  const code = await runCommand(options.run, place);
  const { control } = gateway;
  if (control !== undefined) await orTold(context, name, () => letGo(context, control, name));
  return code;
}

/** Whatever becomes of the volume after a command: the command's exit code is what its user asked for. */
async function orTold(context: Context, name: string, giveBack: () => Promise<void>): Promise<void> {
  try {
    await giveBack();
  } catch (error) {
    const { code, message, hint } = asRawstorError(error, name);
    context.warn(`${name} was not given back after the command: ${message} [${code}]`);
    if (hint !== undefined) context.note(`  ${hint}`);
  }
}

/** After a command: but never from under others, such as a guest that was there before. */
async function letGo(context: Context, control: string, name: string): Promise<void> {
  const giveUpMs = context.clock.nowMs() + LET_GO_MS;
  for (;;) {
    try {
      await callControl(control, { method: 'detach', export: name, force: false }, context.globals.timeout);
      return;
    } catch (error) {
      // The gateway may not have seen yet that the command's connection is gone.
      if (!(error instanceof RawstorError) || error.code !== 'BUSY') throw error;
      if (context.clock.nowMs() > giveUpMs) return context.note(`${name} is still in use by others`);
      await context.clock.sleep(LET_GO_RETRY_MS);
    }
  }
}

function print(context: Context, place: ExportPlace, options: Options): void {
  const texts = {
    uri: uriOf(place),
    qemu: qemuCommand(place, options.accel),
    libvirt: libvirtDisk(place),
  };
  context.output.one({ name: place.name, address: place.address, ...texts }, () => [texts[options.print]]);
}

/** A gateway of its own for this volume. */
async function fromHere(context: Context, name: string, options: Options): Promise<number> {
  const cluster = await context.cluster();
  // Opened once now, so that a volume in use by another is told at once and not to the first client.
  if (splitSnapshotRef(name) === null) await (await openVolume(context, name, { forGuest: true })).close();
  const directory = options.socket === undefined ? await mkdtemp(join(tmpdir(), 'rawstor-')) : null;
  const path = options.socket === undefined ? join(directory!, 'nbd.sock') : resolve(options.socket);
  const log = openCommandLog(context.program, context.globals.verbose ? 'debug' : 'warn');
  const start = () =>
    Gateway.start({
      cluster,
      io: context.io(),
      clock: context.clock,
      log,
      listen: [`unix:${path}`],
      only: name,
    });
  try {
    if (options.run !== undefined) {
      const gateway = await start();
      try {
        return await runCommand(options.run, { address: gateway.addresses[0]!, name });
      } finally {
        await orTold(context, name, () => gateway.close());
      }
    }
    return await runService(
      async () => {
        const gateway = await start();
        print(context, { address: gateway.addresses[0]!, name }, options);
        context.note('serving until Ctrl-C');
        return gateway;
      },
      { log, failed: (gateway) => gateway.failed },
    );
  } finally {
    if (directory !== null) await rm(directory, { recursive: true, force: true });
  }
}

/** @returns the command's exit code, as a shell would */
async function runCommand(command: string, place: ExportPlace): Promise<number> {
  const socket = place.address.startsWith('unix:') ? place.address.slice('unix:'.length) : '';
  const child = spawn('/bin/sh', ['-c', command], {
    stdio: 'inherit',
    env: { ...process.env, uri: uriOf(place), socket, export: place.name },
  });
  // Ctrl-C reaches the command as well; this process goes on to detach.
  const ignore = () => {};
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  process.on('SIGINT', ignore);
  process.on('SIGTERM', pass);
  try {
    return await new Promise((done, failed) => {
      child.on('error', (error) =>
        failed(new RawstorError('OS_ERROR', 'the command cannot be run', { where: command, cause: error })),
      );
      child.on('close', (code, signal) =>
        done(code ?? 128 + (signal === null ? 0 : (constants.signals[signal] ?? 0))),
      );
    });
  } finally {
    process.off('SIGINT', ignore);
    process.off('SIGTERM', pass);
  }
}
