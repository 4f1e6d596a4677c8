import { RawstorError } from '../../../common/errors.js';
import { defineVerb } from '../../command.js';
import { callControl } from '../../gateway/control.js';
import { findGateway } from '../../gateway/find.js';
import { findEither } from '../../snapshots.js';

export const detach = defineVerb<{ force: boolean }>({
  name: 'detach',
  summary: 'have the NBD gateway of this machine close a volume',
  description: 'Gateways close a volume by themselves some seconds after its last client has left.',
  arguments: [{ name: 'volume', help: 'name or id, or VOLUME@SNAPSHOT' }],
  options: [
    {
      flags: '-f, --force',
      help: 'even while clients are connected: what they have sent is answered, or fails when that takes over 2 s, then they are cut off',
      default: false,
    },
  ],
  examples: [
    { command: 'rawstor-volume detach vm1', what: 'refused while a guest is connected' },
    { command: 'rawstor-volume detach vm1 --force', what: 'cuts it off' },
  ],
  async run(context, [ref], { force }) {
    const { timeout } = context.globals;
    const { volume, snapshot } = await findEither(context, await context.cluster(), ref!);
    const name = snapshot === null ? volume.name : `${volume.name}@${snapshot.name}`;
    const { control, address } = await findGateway(context);
    if (control === undefined) {
      throw new RawstorError('NOT_SUPPORTED', 'the control socket of this gateway is not known here', {
        where: address,
        hint: 'run it on the machine of the gateway, with a cluster.toml that names gateway.control',
      });
    }
    const answer = await callControl(control, { method: 'detach', export: name, force }, timeout);
    const ended = Number(answer.connectionsEnded ?? 0);
    const wasOpen = answer.wasOpen === true;
    const cutOff = ended === 0 ? '' : `, ${ended} ${ended === 1 ? 'client' : 'clients'} cut off`;
    context.output.one({ name, wasOpen, connectionsEnded: ended }, () => [
      wasOpen ? `detached ${name}${cutOff}` : `${name} was not open in this gateway`,
    ]);
    return 0;
  },
});
