import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { RawstorError } from '../../common/errors.js';
import { newId } from '../../common/ids.js';
import { runService } from '../../common/lifecycle.js';
import { defineVerb } from '../command.js';
import type { Context } from '../context.js';
import { openCluster } from '../gateway/open-cluster.js';
import { ENCRYPT_OPTION, type EncryptOptions, encryptionOfNew, KEY_OPTIONS } from '../keys.js';
import { goToBackground, inBackground } from '../mount/background.js';
import { checkMountDirectory } from '../mount/directory.js';
import { MountRegistration } from '../mount/registration.js';
import { wholeNumber } from '../options.js';
import { openEnvironment, SERVER_OPTIONS } from '../roles/environment.js';
import { LAYOUT_OPTIONS, type LayoutOptions } from './volume/create.js';

interface Options extends LayoutOptions, EncryptOptions {
  foreground: boolean;
  logFile?: string;
  uid?: number;
  gid?: number;
  mode: number;
  dirMode: number;
  allowOther?: boolean;
  busy: 'error' | 'read-only';
  thin: boolean;
  label?: Record<string, string>;
  mds?: string[];
  mgs?: string[];
  poolSize?: number;
  recoveryRate?: number;
}

const USER_MAX = 0xfffffffe;
/** What an open of a volume waits for at the metadata server; a program that waits for it cannot be ended. */
const CALL_MS = 10_000;

export const mount = defineVerb<Options>({
  name: 'mount',
  summary: 'show the volumes of a cluster as files of a directory',
  description:
    'Each volume is a file by its name, raw, and may be created, written, made longer or shorter, renamed and removed; ' +
    'snapshots are read in .snapshots, as VOLUME@SNAPSHOT. A file that is open for writing holds its volume: nobody ' +
    'else writes to it meanwhile. `umount` or SIGTERM ends it. The options of a layout are those of files that are ' +
    'created here.',
  arguments: [{ name: 'dir', help: 'directory to mount on' }],
  options: [
    { flags: '--foreground', help: 'stay, and log to stderr', default: false },
    { flags: '--log-file <path>', help: 'where the process in the background logs (default: nowhere)' },
    {
      flags: '--uid <id>',
      help: 'owner of the files (default: who mounts)',
      parse: wholeNumber(0, USER_MAX),
    },
    {
      flags: '--gid <id>',
      help: 'group of the files (default: of who mounts)',
      parse: wholeNumber(0, USER_MAX),
    },
    {
      flags: '--mode <octal>',
      help: 'permissions of the files',
      parse: permissions,
      default: 0o600,
      defaultText: '0600',
    },
    {
      flags: '--dir-mode <octal>',
      help: 'permissions of the directories',
      parse: permissions,
      default: 0o755,
      defaultText: '0755',
    },
    { flags: '--allow-other', help: 'others than who mounts may look in (default: as root)' },
    { flags: '--no-allow-other', help: 'only who mounts may look in' },
    {
      flags: '--busy <policy>',
      help: 'opening a volume for writing that somebody else writes to: fails, or it is read only',
      choices: ['error', 'read-only'],
      default: 'error',
    },
    { flags: '--thin', help: 'fallocate(2) makes a file as large and takes no space', default: false },
    ...LAYOUT_OPTIONS,
    SERVER_OPTIONS.label,
    {
      ...ENCRYPT_OPTION,
      help: 'new files are encrypted, each with a key of its own that --key-file or --passphrase-file opens',
    },
    ...KEY_OPTIONS,
    SERVER_OPTIONS.mds,
    SERVER_OPTIONS.mgs,
    SERVER_OPTIONS.recoveryRate,
    SERVER_OPTIONS.poolSize,
  ],
  examples: [
    {
      command: 'rawstor mount /mnt/rawstor',
      what: 'then `cp disk.raw /mnt/rawstor/vm1`, `losetup`, `virsh` ...',
    },
    {
      command: 'rawstor mount /var/lib/libvirt/rawstor --replicas 3 --foreground',
      what: 'a libvirt pool, under a service manager',
    },
  ],
  async run(context, [dir], options) {
    const directory = resolve(dir!);
    if (options.minReplicas > options.replicas) {
      throw new RawstorError('USAGE', `--min-replicas ${options.minReplicas} is more than --replicas`);
    }
    checkMountDirectory(directory, locationFile(context));
    const encryptionOf = await encryptionOfNew(options);
    if (!options.foreground && !inBackground()) {
      const pid = await goToBackground(options.logFile === undefined ? null : resolve(options.logFile));
      context.output.one({ directory, pid }, () => [`mounted on ${directory} (process ${pid})`]);
      return 0;
    }
    // Loaded when it is served: other verbs start faster without it.
    const { FuseMount } = await import('../../fuse/index.js');
    const env = openEnvironment(context, 'mount', options.poolSize);
    const start = async (stopping: AbortSignal) => {
      const labels = { host: hostname(), ...options.label };
      const registered = { role: 'mount' as const, id: newId(), addresses: [], labels };
      const facts = () => ({ name: 'rawstor-mount', registered });
      const { cluster, mgs, closeBehind } = await openCluster(context, env, options, facts, stopping);
      const mounted = await FuseMount.start({
        ...env,
        cluster,
        directory,
        holder: `rawstor-mount@${hostname()}`,
        timeoutMs: CALL_MS,
        layout: layoutOf(options),
        encryptionOf,
        owners: {
          uid: options.uid ?? process.getuid!(),
          gid: options.gid ?? process.getgid!(),
          mode: options.mode,
          directoryMode: options.dirMode,
        },
        allowOthers: options.allowOther ?? process.geteuid!() === 0,
        readBusy: options.busy === 'read-only',
        preallocate: !options.thin,
      });
      const told = mgs && new MountRegistration(mgs, registered, mounted, env);
      const ending = async () => {
        await mounted.close();
        await told?.close();
      };
      const close = () => closeBehind({ close: ending });
      return { mounted, close };
    };
    return await runService(start, {
      log: env.log,
      facts: ({ mounted }) => ({ directory: mounted.directory }),
      failed: ({ mounted }) => mounted.failed,
      done: ({ mounted }) => mounted.unmounted.then(() => 'unmounted'),
      outlivesParent: inBackground(),
    });
  },
});

/** Null too where it is not found: --mds may name the cluster, and the start tells what is missing. */
function locationFile(context: Context): string | null {
  try {
    const place = context.location();
    return place.kind === 'config' ? place.path : null;
  } catch {
    return null;
  }
}

function layoutOf(options: LayoutOptions) {
  const { replicas, minReplicas, chunkSize, stripeWidth, failureDomain, near = null, onDegraded } = options;
  return { replicas, minReplicas, chunkSizeBytes: chunkSize, stripeWidth, failureDomain, near, onDegraded };
}

function permissions(text: string): number {
  if (/^[0-7]{3,4}$/.test(text)) return Number.parseInt(text, 8);
  throw new RawstorError('USAGE', `'${text}' are no permissions`, {
    hint: 'write them in octal, such as 0640',
  });
}
