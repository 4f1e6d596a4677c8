import { defineVerb } from '../../command.js';
import { withoutGateway } from '../../gateway/let-go.js';
import { checkNewName } from '../../new-name.js';
import { noteUntold, volumeInfo } from '../../volumes.js';

export const rename = defineVerb({
  name: 'rename',
  aliases: ['mv'],
  summary: 'give a volume another name',
  description: 'Its id and its data stay as they are. A volume in use is refused.',
  arguments: [
    { name: 'volume', help: 'name or id' },
    { name: 'name', help: 'new name' },
  ],
  options: [],
  examples: [
    { command: 'rawstor-volume rename vm1 web1', what: 'the name vm1 is free then' },
    { command: 'rawstor-volume mv 01a21277-fa4f-710f-b639-af8bd2b98684 web2', what: 'by id' },
  ],
  async run(context, [ref, name]) {
    checkNewName(name!);
    const cluster = await context.cluster();
    const { timeout } = context.globals;
    const before = await volumeInfo(
      cluster,
      ref!,
      timeout,
      `a snapshot is renamed with \`rawstor-volume snapshot rename ${ref} NAME\``,
    );
    const renamed = await withoutGateway(
      context,
      before.id,
      () => cluster.renameVolume(before.id, name!, { timeoutMs: timeout }),
      'end who uses it; where that has died without closing it, `rawstor-volume attach` and `detach` close it',
    );
    noteUntold(context, renamed);
    context.output.one(renamed.volume, () => [`renamed ${before.name} to ${renamed.volume.name}`]);
    return 0;
  },
});
