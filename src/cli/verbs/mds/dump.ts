import { resolve } from 'node:path';
import { type Pieces, writeFileAtomic } from '../../../common/atomic-file.js';
import type { TakesPage } from '../../../mds/index.js';
import { defineVerb } from '../../command.js';
import type { Context } from '../../context.js';
import { mdsLink } from '../../rebuild/find-osts.js';

export const mdsDump = defineVerb<{ dir?: string; withoutSecrets: boolean }>({
  name: 'dump',
  summary: 'write all metadata to a file, of a running MDS or of a directory',
  description:
    'JSON lines with a checksum, described in docs/formats-mds.md. With --dir from the directory of an MDS that does ' +
    'not run, else from the running one. It is a witness for `rawstor mds load`, which asks the OSTs as well. ' +
    'It holds the secrets of access keys of S3: only its owner can read the file.',
  arguments: [{ name: 'file', help: 'where to write, - for standard output' }],
  options: [
    { flags: '--dir <path>', help: 'directory of an MDS that does not run' },
    { flags: '--without-secrets', help: 'leave out the access keys of S3', default: false },
  ],
  examples: [
    { command: 'rawstor mds dump /backup/mds.jsonl', what: 'of the running MDS' },
    { command: 'rawstor mds dump - --dir /srv/mds | gzip > mds.jsonl.gz', what: 'of a stopped one' },
  ],
  async run(context, [file], { dir, withoutSecrets: leftOut }) {
    const { dumpDirectory, DumpText, withoutSecrets } = await import('../../../mds/index.js');
    const dump = async (take: TakesPage) => {
      if (dir === undefined) await ofRunning(context, take);
      else await dumpDirectory(resolve(dir), take);
    };
    let text: InstanceType<typeof DumpText> | null = null;
    let clusterId = '';
    const pieces: Pieces = async (write) => {
      await dump(async (ofCluster, all) => {
        if (text === null) {
          clusterId = ofCluster;
          text = new DumpText(ofCluster, context.clock.wallMs());
          await write(text.begin());
        }
        const lines = leftOut ? withoutSecrets(all) : all;
        if (lines.length > 0) await write(text.add(lines));
      });
      await write(text!.end());
    };
    const told = () => `dumped ${text!.records} records of cluster ${clusterId}`;
    if (file === '-') {
      await pieces(toStandardOutput);
      context.note(told());
      return 0;
    }
    const path = resolve(file!);
    await writeFileAtomic(path, pieces, 0o600);
    const facts = { file: path, clusterId, records: text!.records, sizeBytes: text!.sizeBytes };
    context.output.one(facts, () => [`${told()} to ${path}`]);
    return 0;
  },
});

function toStandardOutput(piece: string | Uint8Array): Promise<void> {
  return new Promise((done, failed) => {
    process.stdout.write(piece, (error) => (error == null ? done() : failed(error)));
  });
}

async function ofRunning(context: Context, take: TakesPage): Promise<void> {
  const link = await mdsLink(context);
  try {
    const { timeout } = context.globals;
    const { clusterId } = await link.call('mds.stat', {}, timeout);
    const { eachPage } = await import('../../../mds/index.js');
    const ask = (after: string) => link.call('mds.dump', { after }, timeout);
    await eachPage(ask, (lines) => take(clusterId, lines));
  } finally {
    link.close();
  }
}
