import { RawstorError } from '../../../common/errors.js';
import { defineVerb } from '../../command.js';
import { volumeInfo } from '../../volumes.js';

/** Copying takes as long as it takes; who waits is told at the end. */
const PATIENCE_MS = 3_600_000;

export const flatten = defineVerb({
  name: 'flatten',
  summary: 'make a clone independent of its parent',
  description:
    'Every OST copies for itself what the clone shows of its parent, while the clone is used. It may be ended and begun ' +
    'again: what has been copied stays. A clone with snapshots is refused.',
  arguments: [{ name: 'volume', help: 'name or id of the clone' }],
  examples: [
    { command: 'rawstor-volume flatten web1', what: 'golden@v1 may be removed then' },
    { command: 'rawstor-volume flatten web1 --output json', what: 'for programs' },
  ],
  async run(context, [ref]) {
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const volume = await volumeInfo(cluster, ref!, timeout, 'a clone is flattened, by its own name');
    const { parent, name, id } = volume;
    if (parent === null) {
      throw new RawstorError('INVALID', 'the volume is no clone, or not any more', { where: name });
    }
    const timeoutMs = Math.max(PATIENCE_MS, timeout);
    await cluster.changeVolume(id, { kind: 'flattened' }, { timeoutMs });
    context.output.one({ volume: name, id, parent: parent.name }, () => [
      `${name} needs ${parent.name} no more`,
    ]);
    return 0;
  },
});
