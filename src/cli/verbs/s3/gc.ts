import { defineVerb } from '../../command.js';
import { withS3 } from '../../s3-catalog.js';

export const gc = defineVerb({
  name: 'gc',
  summary: 'remove what uploads that were cut short have left, now',
  description:
    'Gateways do it by themselves every minute. Data that a gateway holds, or that anything refers to, is never removed. Packs that are ' +
    'empty are left to the gateways: others may still read there, so they go when a gateway has seen them empty for five minutes.',
  examples: [
    { command: 'rawstor s3 gc', what: 'at once' },
    { command: 'rawstor s3 gc --output json', what: 'for programs' },
  ],
  run: (context) =>
    withS3(context, async ({ store }) => {
      const found = await store.collector.run(5000);
      context.output.one(found, () => [
        `removed ${found.removed} objects of the OSTs, moved ${found.moved} contents`,
      ]);
      return 0;
    }),
});
