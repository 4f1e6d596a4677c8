import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cluster } from '../../client/index.js';
import { writeFileAtomic } from '../../common/atomic-file.js';
import { ROW } from '../../s3-lite/index.js';
import type { Context } from '../context.js';
import { withS3Of } from '../s3-catalog.js';
import { writeS3Env } from '../s3-env.js';
import type { UpPlan } from './plan.js';

const ENV_FILE = 's3.env';

export const s3EnvFile = ({ dir }: Pick<UpPlan, 'dir'>) => join(dir, ENV_FILE);

/** An access key that may do all, in a file that only its owner reads: made once, and anew when the MDS does not know it. */
export async function ensureS3Key(plan: UpPlan, cluster: Cluster, context: Context): Promise<void> {
  const file = s3EnvFile(plan);
  const { clock, log } = context;
  await withS3Of(cluster, { io: context.io(), clock, log }, async ({ store, keys }) => {
    // After the loss of the MDS: the gateway is not there yet.
    await store.keeper.recover();
    const before = textOf(file);
    const known = /AWS_ACCESS_KEY_ID=([A-Za-z0-9]+)/.exec(before)?.[1];
    if (known !== undefined && (await store.catalog.get(ROW.access(known))) !== null) {
      // The gateway may be on another port than it was.
      const text = before.replace(/(AWS_ENDPOINT_URL=)\S*/, (_, name: string) => `${name}${plan.s3Url}`);
      if (text !== before) await writeFileAtomic(file, text, 0o600);
      return;
    }
    const row = await keys.create('up', { '*': 'admin' }, clock.wallMs());
    await writeS3Env(file, row, { AWS_DEFAULT_REGION: 'us-east-1', AWS_ENDPOINT_URL: plan.s3Url });
  });
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
