import type { VerbSpec } from '../../command.js';
import { poolDefine } from './pool-define.js';

const pool: VerbSpec = {
  name: 'pool',
  summary: 'pools whose volumes are those of a cluster',
  verbs: [poolDefine],
  examples: poolDefine.examples,
};

export const libvirt: VerbSpec = {
  name: 'libvirt',
  summary: 'what libvirt has to know',
  verbs: [pool],
  examples: poolDefine.examples,
};
