import {
  Alert,
  Button,
  Code,
  Group,
  NativeSelect,
  Paper,
  Stack,
  Text,
  Textarea,
  TextInput,
} from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { api, ok } from '../../api/client';
import { asProblem } from '../../api/problem';
import { balanceQuery, offerQuery } from '../../api/queries';
import { counted } from '../../money/decimal';
import { price } from '../../money/format';
import { Charge } from '../../shared/Amount';
import { CopyButton } from '../../shared/CopyButton';
import { Dialog } from '../../shared/Dialog';
import { count, duration } from '../../shared/format';
import { PageTitle } from '../../shared/PageTitle';
import { Empty, Loaded, ProblemAlert } from '../../shared/States';
import { TextLink } from '../../shared/TextLink';
import { type Ask, asCurl, chat, type Ended, type Message } from './chat';
import { KeyChoice } from './KeyChoice';
import { hold, useHeldKey } from './key';

const route = getRouteApi('/shell/playground');
const DRAFT = 'nexusroute.playground';

interface Turn {
  role: 'user' | 'assistant';
  content: string;
  /** How the call ended that said it. */
  ended?: Ended;
  ms?: number;
}

interface Draft {
  system: string;
  text: string;
  max: string;
  temperature: string;
}

function drafted(): Draft {
  const nothing = { system: '', text: '', max: '1024', temperature: '' };
  try {
    return { ...nothing, ...JSON.parse(sessionStorage.getItem(DRAFT) ?? '{}') };
  } catch {
    return nothing;
  }
}

/** What of the answer was stopped or lost is still what was said. */
export function PlaygroundPage() {
  const { t } = useTranslation();
  const { model: wanted } = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const offer = useQuery(offerQuery);
  const key = useHeldKey();
  const [draft, setDraft] = useState(drafted);
  const [turns, setTurns] = useState<Turn[]>([]);
  const [coming, setComing] = useState<string | null>(null);
  const [showing, setShowing] = useState(false);
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => {
    try {
      sessionStorage.setItem(DRAFT, JSON.stringify(draft));
    } catch {
      // Then a reload loses it.
    }
  }, [draft]);
  const models = offer.data?.items ?? [];
  const model = models.find((it) => it.name === wanted) ?? models[0];
  const askOf = (earlier: Turn[], text: string): Ask => {
    const max = counted(draft.max);
    const temperature = /^(0|1)(\.\d+)?$|^2(\.0+)?$/.test(draft.temperature.trim());
    const messages: Message[] = [
      ...(draft.system.trim() ? [{ role: 'system' as const, content: draft.system }] : []),
      ...earlier.map(({ role, content }) => ({ role, content })),
      ...(text.trim() ? [{ role: 'user' as const, content: text }] : []),
    ];
    return {
      model: model?.name ?? '',
      messages,
      ...(max === null ? {} : { max_tokens: max }),
      ...(temperature ? { temperature: JSON.parse(draft.temperature) } : {}),
    };
  };
  const send = useMutation({
    mutationFn: async (text: string) => {
      const before = turns;
      const asked: Turn = { role: 'user', content: text };
      setTurns([...before, asked]);
      setDraft((it) => ({ ...it, text: '' }));
      setComing('');
      const control = new AbortController();
      stop.current = control;
      const began = performance.now();
      let said = '';
      let ended: Ended | undefined;
      try {
        ended = await chat(
          key ?? '',
          askOf(before, text),
          (piece) => {
            said += piece;
            setComing(said);
          },
          control.signal,
        );
      } catch (error) {
        const { code, requestId } = asProblem(error);
        // The connection broke in the middle: the gateway has the call all the same, and its charge.
        if (code === 'stream_broken' && requestId) {
          ended = { request: requestId, finish: null, input: null, output: null };
        }
        throw error;
      } finally {
        setComing(null);
        const ms = Math.round(performance.now() - began);
        if (said || ended)
          setTurns([...before, asked, { role: 'assistant', content: said, ms, ...(ended ? { ended } : {}) }]);
        else {
          // Nothing was said: the question is back in its field.
          setTurns(before);
          setDraft((it) => ({ ...it, text: it.text || text }));
        }
      }
    },
    onSettled: () => {
      void client.invalidateQueries({ queryKey: balanceQuery.queryKey });
      void client.invalidateQueries({ queryKey: ['usage'] });
    },
    onError: (error) => {
      if (asProblem(error).status === 401) hold(null);
    },
  });
  const ready = key !== null && model !== undefined && draft.text.trim() !== '' && !send.isPending;
  const submit = () => {
    if (ready) send.mutate(draft.text);
  };
  return (
    <>
      <PageTitle
        title={t('playground.title')}
        lead={t('playground.lead')}
        actions={
          <>
            <Button variant="default" disabled={!model} onClick={() => setShowing(true)}>
              {t('playground.code')}
            </Button>
            <Button
              variant="default"
              disabled={turns.length === 0 || send.isPending}
              onClick={() => {
                setTurns([]);
                send.reset();
              }}
            >
              {t('playground.clear')}
            </Button>
          </>
        }
      />
      <Loaded query={offer}>
        {() =>
          !model ? (
            <Empty icon="cube" title={t('models.none')}>
              {t('models.noneText')}
            </Empty>
          ) : (
            <div className="playground">
              <Stack gap="md">
                <KeyChoice />
                <Paper withBorder p="md">
                  <Stack gap="sm">
                    <NativeSelect
                      label={t('models.name')}
                      description={t('playground.prices', {
                        input: price(model.prices.input),
                        output: price(model.prices.output),
                      })}
                      value={model.name}
                      data={models.map((it) => ({ value: it.name, label: it.display_name || it.name }))}
                      onChange={(event) =>
                        navigate({
                          to: '/playground',
                          search: { model: event.currentTarget.value },
                          replace: true,
                        })
                      }
                    />
                    <Textarea
                      label={t('playground.system')}
                      autosize
                      minRows={2}
                      maxRows={6}
                      value={draft.system}
                      onChange={(event) => setDraft({ ...draft, system: event.currentTarget.value })}
                    />
                    <TextInput
                      label={t('playground.max')}
                      inputMode="numeric"
                      value={draft.max}
                      error={
                        draft.max.trim() && counted(draft.max) === null ? t('field.wholeRule') : undefined
                      }
                      onChange={(event) => setDraft({ ...draft, max: event.currentTarget.value })}
                    />
                    <TextInput
                      label={t('playground.temperature')}
                      description={t('playground.temperatureNote')}
                      inputMode="decimal"
                      value={draft.temperature}
                      onChange={(event) => setDraft({ ...draft, temperature: event.currentTarget.value })}
                    />
                  </Stack>
                </Paper>
              </Stack>
              <Stack gap="md">
                <section className="turns" aria-label={t('playground.talk')}>
                  {turns.length === 0 && coming === null && (
                    <Text c="dimmed">{key ? t('playground.begin') : t('playground.needsKey')}</Text>
                  )}
                  {turns.map((turn, at) => (
                    <Said key={at} turn={turn} />
                  ))}
                  {coming !== null && <Said turn={{ role: 'assistant', content: coming || '…' }} />}
                </section>
                <div role="status" className="offscreen">
                  {send.isPending ? t('playground.waiting') : turns.length > 0 ? t('playground.ended') : ''}
                </div>
                {send.error ? <ProblemAlert error={send.error} title={t('playground.failed')} /> : null}
                {asProblem(send.error).status === 402 && (
                  <Alert variant="outline" color="yellow">
                    <TextLink to="/topup">{t('nav.topup')}</TextLink>
                  </Alert>
                )}
                <form
                  onSubmit={(event) => {
                    event.preventDefault();
                    submit();
                  }}
                >
                  <Stack gap="xs">
                    <Textarea
                      label={t('playground.message')}
                      description={t('playground.keys')}
                      autosize
                      minRows={3}
                      maxRows={12}
                      value={draft.text}
                      onChange={(event) => setDraft({ ...draft, text: event.currentTarget.value })}
                      onKeyDown={(event) => {
                        if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
                        event.preventDefault();
                        submit();
                      }}
                    />
                    <Group justify="flex-end">
                      {send.isPending ? (
                        <Button color="red" variant="outline" onClick={() => stop.current?.abort()}>
                          {t('playground.stop')}
                        </Button>
                      ) : (
                        <Button type="submit" disabled={!ready}>
                          {t('playground.send')}
                        </Button>
                      )}
                    </Group>
                  </Stack>
                </form>
              </Stack>
            </div>
          )
        }
      </Loaded>
      <Dialog opened={showing} onClose={() => setShowing(false)} title={t('playground.code')} size="lg">
        <Code block className="snippet" tabIndex={0}>
          {asCurl(window.location.origin, askOf(turns, draft.text))}
        </Code>
        <Group mt="sm">
          <CopyButton
            button
            text={asCurl(window.location.origin, askOf(turns, draft.text))}
            label={t('snippet.copy', { name: 'curl' })}
          />
        </Group>
      </Dialog>
    </>
  );
}

function Said({ turn }: { turn: Turn }) {
  const { t } = useTranslation();
  return (
    <Paper withBorder p="sm" className={`turn ${turn.role}`}>
      <Text size="xs" c="dimmed">
        {t(`playground.roles.${turn.role}`)}
      </Text>
      {/* What a model says is text. */}
      <div className="said">{turn.content || t('playground.nothing')}</div>
      {turn.ended && <Settled ended={turn.ended} ms={turn.ms ?? 0} />}
    </Paper>
  );
}

/** What the call came to: the counts as the stream told them, and the charge as the books have it. */
function Settled({ ended, ms }: { ended: Ended; ms: number }) {
  const { t } = useTranslation();
  const id = ended.request;
  const record = useQuery({
    queryKey: ['usage', 'one', id],
    queryFn: () => ok(api.GET('/api/user/usage/{id}', { params: { path: { id: id ?? '' } } })),
    enabled: id !== null,
    // The record is in the tables some moments after the call, and the network may be away as long.
    retry: (failures, error) => [0, 404].includes(asProblem(error).status) && failures < 40,
    retryDelay: 500,
  });
  return (
    <Text size="xs" c="dimmed" mt={6} component="div">
      <Group gap="sm">
        {ended.finish === null && <span>{t('playground.cut')}</span>}
        <span>{duration(ms)}</span>
        {ended.input !== null && ended.output !== null && (
          <span>{t('dashboard.tokensNote', { input: count(ended.input), output: count(ended.output) })}</span>
        )}
        {record.data ? (
          <>
            <span data-testid="charge">
              <Charge amount={record.data.charge} /> {t('common.credits')}
            </span>
            <Link to="/usage" search={{ open: record.data.id }} className="quiet">
              {t('playground.receipt')}
            </Link>
          </>
        ) : record.error || id === null ? (
          <TextLink to="/usage" size="xs">
            {t('playground.inLog')}
          </TextLink>
        ) : (
          <span>{t('playground.settling')}</span>
        )}
      </Group>
    </Text>
  );
}
