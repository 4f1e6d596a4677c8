import { RawstorError } from '../../../common/errors.js';
import { formatSizeBytes } from '../../../common/units.js';
import { defineVerb } from '../../command.js';
import { checkVolumeSize, size, YES } from '../../options.js';
import { volumeInfo } from '../../volumes.js';

interface Options {
  shrink: boolean;
  yes: boolean;
  force: boolean;
}

export const resize = defineVerb<Options>({
  name: 'resize',
  summary: 'change the size of a volume',
  description:
    'A guest may run. The gateway ends its connections, so that they come back to the new size; a QEMU started with ' +
    "reconnect-delay does so by itself and is then told by `block_resize`. Snapshots keep the size they have. What is behind a smaller volume's end is erased: that takes --shrink, and on a terminal a yes.",
  arguments: [
    { name: 'volume', help: 'name or id' },
    { name: 'size', help: 'new size, such as 20G' },
  ],
  options: [
    { flags: '--shrink', help: 'let it become smaller: what is behind its new end is lost', default: false },
    YES,
    { flags: '-f, --force', help: 'the same', default: false },
  ],
  examples: [
    { command: 'rawstor-volume resize vm1 20G', what: 'larger, then grow what is inside' },
    { command: 'rawstor-volume resize vm1 5G --shrink', what: 'smaller, after what is inside was made so' },
  ],
  async run(context, [ref, text], { shrink, yes, force }) {
    const sizeBytes = size(text!);
    checkVolumeSize(sizeBytes, 'size');
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const instead = 'a snapshot keeps the size it has; a clone of it may get another';
    const volume = await volumeInfo(cluster, ref!, timeout, instead);
    const before = volume.sizeBytes;
    if (sizeBytes < before) {
      if (!shrink) {
        throw new RawstorError('USAGE', `it has ${formatSizeBytes(before)}: that would make it smaller`, {
          where: volume.name,
          hint: 'with --shrink what is behind the new end is lost, for good',
        });
      }
      const lost = formatSizeBytes(before - sizeBytes);
      await context.confirm(`Shrink ${volume.name} and erase its last ${lost}?`, yes || force);
    }
    if (sizeBytes !== before) {
      await cluster.changeVolume(volume.id, { kind: 'resize', sizeBytes }, { timeoutMs: timeout });
    }
    context.output.one({ volume: volume.name, id: volume.id, sizeBytes, before }, () => [
      `${volume.name} has ${formatSizeBytes(sizeBytes)} now, before ${formatSizeBytes(before)}`,
    ]);
    return 0;
  },
});
