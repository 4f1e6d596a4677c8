import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { RawstorError } from '../../../common/errors.js';
import { defineVerb } from '../../command.js';
import { xml } from '../../gateway/print.js';

interface Options {
  mount?: string;
  connect?: string;
  print: boolean;
}

export const poolDefine = defineVerb<Options>({
  name: 'define',
  summary: 'have libvirt know a directory that `rawstor mount` is on as a pool',
  description:
    'The pool is of the type dir: volumes are files, which virsh, virt-install and virt-manager create, clone, resize, fill and ' +
    'remove. It is defined and not started: `virsh pool-start NAME`, and `pool-autostart` where the mount is there at boot.',
  arguments: [{ name: 'name', help: 'of the pool' }],
  options: [
    { flags: '--mount <dir>', help: 'directory of the mount (default: the one there is on this machine)' },
    { flags: '--connect <uri>', help: 'of libvirt, as `virsh --connect` takes it (default: as virsh)' },
    { flags: '--print', help: 'print the XML and define nothing', default: false },
  ],
  examples: [
    {
      command: 'rawstor libvirt pool define rawstor --mount /var/lib/libvirt/rawstor',
      what: 'then `virsh pool-start rawstor; virsh vol-create-as rawstor vm1 20G`',
    },
    { command: 'rawstor libvirt pool define rawstor --print', what: 'the XML alone' },
  ],
  async run(context, [name], options) {
    const directory = options.mount === undefined ? await onlyMount() : resolve(options.mount);
    if (options.print) {
      process.stdout.write(`${poolXml(name!, directory)}\n`);
      return 0;
    }
    const connect = options.connect === undefined ? [] : ['--connect', options.connect];
    await virsh([...connect, 'pool-define-as', name!, 'dir', '--target', directory]);
    context.output.one({ name, directory }, () => [`defined pool ${name} on ${directory}`]);
    return 0;
  },
});

function poolXml(name: string, directory: string): string {
  return [
    "<pool type='dir'>",
    `  <name>${xml(name)}</name>`,
    '  <target>',
    `    <path>${xml(directory)}</path>`,
    '  </target>',
    '</pool>',
  ].join('\n');
}

/** @throws RawstorError USAGE where there is none, or are several */
async function onlyMount(): Promise<string> {
  const { rawstorMounts } = await import('../../../fuse/index.js');
  const found = rawstorMounts();
  if (found.length === 1) return found[0]!;
  const hint = found.length === 0 ? 'mount it first: `rawstor mount DIR`' : `one of ${found.join(', ')}`;
  throw new RawstorError('USAGE', `--mount is missing: rawstor is mounted ${found.length} times here`, {
    hint,
  });
}

/** @throws RawstorError NOT_FOUND where it is not installed, OS_ERROR with what it says */
function virsh(args: readonly string[]): Promise<void> {
  return new Promise((done, reject) => {
    const child = spawn('virsh', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (bytes: Buffer) => {
      if (said.length < 4096) said += bytes.toString();
    });
    child.on('error', (cause) => {
      const hint = 'install the Debian package libvirt-clients, or use --print';
      reject(new RawstorError('NOT_FOUND', 'virsh cannot be run', { hint, cause }));
    });
    child.on('close', (code) => {
      if (code === 0) return done();
      const text = said.trim().replace(/^error: /, '') || `it ends with ${code}`;
      reject(new RawstorError('OS_ERROR', `virsh: ${text}`));
    });
  });
}
