import { resolve } from 'node:path';
import { writeFileAtomic } from '../../../common/atomic-file.js';
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
    const { dumpDirectory, dumpText, withoutSecrets } = await import('../../../mds/index.js');
    const { clusterId, lines: all } =
      dir === undefined ? await ofRunning(context) : await dumpDirectory(resolve(dir));
    const lines = leftOut ? withoutSecrets(all) : all;
    const text = dumpText(clusterId, lines, context.clock.wallMs());
    const told = `dumped ${lines.length} records of cluster ${clusterId}`;
    if (file === '-') {
      process.stdout.write(text);
      context.note(told);
      return 0;
    }
    const path = resolve(file!);
    await writeFileAtomic(path, text, 0o600);
    const facts = { file: path, clusterId, records: lines.length, sizeBytes: Buffer.byteLength(text) };
    context.output.one(facts, () => [`${told} to ${path}`]);
    return 0;
  },
});

async function ofRunning(context: Context): Promise<{ clusterId: string; lines: string[] }> {
  const link = await mdsLink(context);
  try {
    const { timeout } = context.globals;
    const { clusterId } = await link.call('mds.stat', {}, timeout);
    const lines: string[] = [];
    let after: string | null = '';
    while (after !== null) {
      const page: { lines: string[]; next: string | null } = await link.call('mds.dump', { after }, timeout);
      lines.push(...page.lines);
      after = page.next;
    }
    return { clusterId, lines };
  } finally {
    link.close();
  }
}
