import { LIMITS } from '../../../common/limits.js';
import type { Cluster } from '../../cluster.js';
import type { ImmutableLayout } from '../written-object.js';

/**
 * Small, and the only trace of what was removed: as many copies as there may be, whatever the content has; but one place stays free,
 * so that any OST can be drained.
 * @throws RawstorError UNAVAILABLE
 */
export async function journalLayout({ mds }: Cluster): Promise<ImmutableLayout> {
  const { osts } = await mds.call('mds.listOsts', {});
  const usable = osts.filter(({ alive, draining }) => alive && !draining);
  const hosts = new Set(usable.map(({ labels }) => labels.host));
  const apart = hosts.size > 1;
  const places = Math.max(1, apart ? hosts.size : usable.length);
  return {
    replicas: places > LIMITS.replicas ? LIMITS.replicas : Math.min(2, places),
    minReplicas: 1,
    stripeWidth: 1,
    failureDomain: apart ? 'host' : 'ost',
    near: null,
  };
}
