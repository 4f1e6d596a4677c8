import { fill } from '../load.js';
import type { StartSubject } from '../types.js';
import { startCluster, VOLUME } from './cluster.js';

export const CHAIN_PARTS = 8;

/** A volume whose blocks lie at random in eight versions: a snapshot behind each eighth of them. */
export const startRawstorChain: StartSubject = async (options) => {
  const ours = await startCluster('local', options);
  return {
    ...ours,
    prepare: async () => {
      for (let part = 0; part < CHAIN_PARTS; part++) {
        await fill(ours.uri, { part, parts: CHAIN_PARTS });
        if (part < CHAIN_PARTS - 1) await ours.run('rawstor-volume', ['snapshot', `${VOLUME}@v${part}`]);
      }
    },
  };
};
