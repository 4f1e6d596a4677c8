import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { YES } from '../../options.js';
import { type S3Catalog, withS3 } from '../../s3-catalog.js';

const show = defineVerb({
  name: 'show',
  summary: 'tell whether buckets and keys are whole, where they are kept, and what nothing names',
  description:
    'After the MDS was made anew, what is listed as named by nothing is kept until `rawstor s3 catalog confirm`.',
  examples: [
    { command: 'rawstor s3 catalog show', what: 'after a rebuild of the MDS' },
    { command: 'rawstor s3 catalog show --output json', what: 'for programs' },
  ],
  run: (context) =>
    withS3(context, async (s3) => {
      const facts = await factsOf(s3);
      context.output.one(facts, () => [
        `catalog      ${facts.state}`,
        `on the OSTs  ${facts.checkpoints} checkpoints, ${facts.journals} journals`,
        `named by no key, upload or volume: ${facts.unnamed} objects, ${formatSizeBytes(facts.unnamedBytes)}`,
      ]);
      return 0;
    }),
});

const recover = defineVerb({
  name: 'recover',
  summary: 'fill the catalog of an MDS that was made anew, from the OSTs',
  description: 'A gateway does it by itself when it starts, or meets a lost catalog.',
  examples: [
    { command: 'rawstor s3 catalog recover', what: 'where no gateway runs' },
    { command: 'rawstor s3 catalog recover --output json', what: 'what came back' },
  ],
  run: (context) =>
    withS3(context, async ({ store }) => {
      const recovered = await store.keeper.recover();
      if (recovered === null) {
        context.output.one({ state: (await store.keeper.state()).state, recovered: null }, () => [
          'the catalog is not lost: nothing was done',
        ]);
        return 0;
      }
      const { rows, journals, base, withoutData, withoutDataCount } = recovered;
      context.output.one({ state: 'unconfirmed', recovered }, () => [
        `recovered ${rows} rows from ${base === 'journals' ? '' : `a ${base} and `}${journals} journals`,
      ]);
      if (withoutDataCount > 0) {
        context.warn(
          `${withoutDataCount} rows name data that is not there, such as ${withoutData.slice(0, 5).join(', ')}`,
        );
      }
      context.note(
        'look at `rawstor s3 catalog show`, then `rawstor s3 catalog confirm`: until then nothing is removed',
      );
      return 0;
    }),
});

const confirm = defineVerb<{ yes: boolean }>({
  name: 'confirm',
  summary: 'say that nothing is missing after a recovery: what no key names may be removed',
  description: 'Asks on a terminal only. What is removed then does not come back.',
  options: [YES],
  examples: [
    { command: 'rawstor s3 catalog confirm', what: 'asks first on a terminal' },
    { command: 'rawstor s3 catalog confirm --yes', what: 'asks nothing' },
  ],
  run: (context, _args, { yes }) =>
    withS3(context, async (s3) => {
      const { state, unnamed, unnamedBytes } = await factsOf(s3);
      if (state !== 'whole') {
        const what = `${unnamed} objects (${formatSizeBytes(unnamedBytes)}) that no key names will be removed: go on?`;
        await context.confirm(what, yes);
        await s3.cluster.mds.call('mds.catalogConfirm', {}, context.globals.timeout);
      }
      context.output.one({ state: 'whole' }, () => ['the catalog is whole']);
      return 0;
    }),
});

const checkpoint = defineVerb({
  name: 'checkpoint',
  summary: 'write all rows of the catalog to one object on the OSTs, now',
  description: 'Gateways do it by themselves when their journals have grown.',
  examples: [
    { command: 'rawstor s3 catalog checkpoint', what: 'at once' },
    { command: 'rawstor s3 catalog checkpoint --output json', what: 'for programs' },
  ],
  run: (context) =>
    withS3(context, async ({ store }) => {
      const { rows, bytes, released } = await store.keeper.checkpoint();
      context.output.one({ rows, bytes, released: released.length }, () => [
        `wrote ${rows} rows, ${formatSizeBytes(bytes)}; ${released.length} journals and checkpoints are not needed any more`,
      ]);
      return 0;
    }),
});

export const catalog = {
  name: 'catalog',
  summary: 'buckets and keys as a whole: kept by the MDS, and on the OSTs for its loss',
  verbs: [show, recover, confirm, checkpoint],
  examples: [...show.examples.slice(0, 1), ...confirm.examples.slice(0, 1)],
};

async function factsOf({ store }: S3Catalog) {
  const { state } = await store.keeper.state();
  if (state === 'lost') return { state, checkpoints: 0, journals: 0, unnamed: 0, unnamedBytes: 0 };
  const rows = await store.keeper.journals();
  const checkpoints = rows.filter(({ kind }) => kind === 'checkpoint').length;
  const { objects: unnamed, bytes: unnamedBytes } = await store.collector.unnamed();
  return { state, checkpoints, journals: rows.length - checkpoints, unnamed, unnamedBytes };
}
