import type { Timer } from '../common/clock.js';
import type { Call } from './context.js';
import { answerXml } from './context.js';
import { asS3Error } from './errors.js';
import { XML_DECLARATION, type XmlValue, xmlElement, xmlFailure } from './xml.js';

/**
 * Answers with a document that may take long to come about. Clients give up on a server that says nothing for a minute, and ask again: so
 * after a while they get the head of the answer, and a blank now and then. What fails later is told in the body, as S3 does it.
 * @throws S3Error before anything was sent
 */
export async function answerLong(
  call: Call,
  root: string,
  work: () => Promise<Readonly<Record<string, XmlValue>>>,
): Promise<void> {
  const { response, request, services, blankMs } = call;
  const timer: Timer = services.clock.every(blankMs, () => {
    if (response.destroyed) return timer.cancel();
    if (response.headersSent) return void response.write(' ');
    response.writeHead(200, { 'content-type': 'application/xml' });
    response.write(XML_DECLARATION);
  });
  try {
    const document = await work();
    timer.cancel();
    if (!response.headersSent) answerXml(call, root, document);
    else response.end(xmlElement(root, document));
  } catch (error) {
    timer.cancel();
    if (!response.headersSent || response.destroyed) throw error;
    const failure = asS3Error(error);
    if (failure.status >= 500)
      services.log.warn({ err: error, requestId: request.id }, 'a request failed after its answer was begun');
    response.end(xmlFailure(failure, request.path, request.id));
  }
}
