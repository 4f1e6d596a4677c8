import type { ObjectInfo } from '../protocol/index.js';
import type { Context } from './context.js';
import { OstLinks } from './ost-links.js';
import { tableLines } from './output.js';
import { type KnownOst, shortId } from './volumes.js';

/** A block that is not what was written, as people look for it. */
export interface DamagedPlace {
  volume: string;
  id: string;
  /** In the volume. */
  offset: number;
  ostId: string;
}

/** What the OSTs know to be damaged of these volumes. */
export async function damagedPlaces(
  context: Context,
  osts: readonly KnownOst[],
  volumes: readonly ObjectInfo[],
): Promise<DamagedPlace[]> {
  const byId = new Map(volumes.map((volume) => [volume.id, volume]));
  const links = new OstLinks(context, osts);
  try {
    const found = await Promise.all(
      osts.map(async ({ ostId }) => {
        const told = await links.call(ostId, 'ost.damage', { objectId: null });
        return (told?.blocks ?? []).flatMap(({ objectId, chunk, offset }): DamagedPlace[] => {
          const volume = byId.get(objectId);
          if (volume === undefined) return [];
          const at = chunk * volume.chunkSizeBytes + offset;
          return [{ volume: volume.name, id: objectId, offset: at, ostId }];
        });
      }),
    );
    return found.flat();
  } finally {
    links.close();
  }
}

/** In a few words, for one volume. */
export function damageText(places: readonly DamagedPlace[]): string {
  const [first] = places;
  if (first === undefined) return '';
  const where = `at ${first.offset} on OST ${shortId(first.ostId)}`;
  if (places.length === 1) return `damaged: 4 KiB ${where}, which no replica has`;
  return `damaged: ${places.length} blocks of 4 KiB, the first ${where}, which no replica has`;
}

export function damageLines(places: readonly DamagedPlace[]): string[] {
  return tableLines(places, [
    { header: 'DAMAGED VOLUME', cell: (place) => place.volume },
    { header: 'AT', cell: (place) => String(place.offset), right: true },
    { header: 'OST', cell: (place) => place.ostId },
  ]);
}
