import { asRawstorError } from '../../../common/errors.js';
import { prefixEnd } from '../../../common/prefix-end.js';
import { formatSizeBytes } from '../../../common/units.js';
import { keyOfRow, type ObjectRow, ROW } from '../../../s3-lite/index.js';
import { defineVerb } from '../../command.js';
import { EXIT } from '../../exit-codes.js';
import { interruptible } from '../../interrupt.js';
import { KEY_OPTIONS } from '../../keys.js';
import { withS3 } from '../../s3-catalog.js';
import { checkRow } from './check-row.js';

interface Bad {
  readonly bucket: string;
  readonly key: string;
  readonly reason: string;
}

export const verify = defineVerb({
  name: 'verify',
  summary: 'read all objects and compare them with the hashes of when they were written',
  description:
    'A scrub of the OSTs (`rawstor scrub`) finds what disks have changed, and repairs it; this finds all else. Exit code 65 when an ' +
    'object is not what was written, or cannot be read. What is replaced or removed meanwhile is none of these.',
  arguments: [{ name: 'bucket', help: 'only this one', optional: true }],
  options: KEY_OPTIONS,
  examples: [
    {
      command: 'rawstor s3 verify --key-file backups=backups.key',
      what: 'all buckets, one of them encrypted',
    },
    { command: 'rawstor s3 verify backups --output json', what: 'for programs' },
  ],
  run: (context, [only]) =>
    interruptible((signal) =>
      withS3(context, async ({ store, buckets, codings }) => {
        const found = { objects: 0, bytes: 0, withoutHash: 0, withoutKey: 0 };
        const bad: Bad[] = [];
        const names = only === undefined ? (await buckets.list()).map(({ name }) => name) : [only];
        if (only !== undefined) await buckets.get(only);
        for (const bucket of names) {
          const { value: owner } = await buckets.get(bucket);
          const prefix = ROW.keys(bucket);
          for await (const { key: row, value } of store.catalog.all<ObjectRow>(prefix, prefixEnd(prefix))) {
            signal.throwIfAborted();
            const key = keyOfRow(row);
            let withoutKey = false;
            const read = async (content: ObjectRow) => {
              const named = { ...content, name: `${bucket}/${key}` };
              const secret = await codings.keyOf(owner, content).catch((error) => {
                if (asRawstorError(error).code !== 'DENIED') throw error;
                return undefined;
              });
              withoutKey = secret === undefined;
              // Without the key what is stored is read, with its sums at the OSTs.
              const pieces =
                secret === undefined ? store.read(content.extents) : store.readWhole(named, secret);
              for await (const _ of pieces) signal.throwIfAborted();
            };
            const now = () => {
              signal.throwIfAborted();
              return store.catalog.get<ObjectRow>(row);
            };
            const checked = await checkRow(value, now, read);
            if (checked === null) continue;
            found.objects++;
            found.bytes += checked.row.sizeBytes;
            if (checked.row.hash == null) found.withoutHash++;
            if (withoutKey) found.withoutKey++;
            if (checked.failure === null) continue;
            const failure = asRawstorError(checked.failure);
            bad.push({ bucket, key, reason: failure.toUserText() });
            context.warn(`${bucket}/${key}: ${failure.message}`);
          }
        }
        context.output.one({ ...found, bad }, () => [
          `${found.objects} objects, ${formatSizeBytes(found.bytes)}: ${bad.length} are not what was written` +
            (found.withoutHash > 0 ? `; ${found.withoutHash} have no hash, and were only read` : '') +
            (found.withoutKey > 0
              ? `; of ${found.withoutKey} the key is not here: what is stored was read`
              : ''),
        ]);
        return bad.length > 0 ? EXIT.DAMAGED : 0;
      }),
    ),
});
