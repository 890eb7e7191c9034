import { Text } from '@mantine/core';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { serverNow } from '../api/client';
import { clock, count } from './format';

const STALE_S = 30;

/** Of when a number is. From half a minute on it says how long ago that was, in a colour that warns. */
export function AsOf({ at }: { at: string }) {
  const { t } = useTranslation();
  const age = () => Math.max(0, Math.floor((serverNow() - new Date(at).getTime()) / 1000));
  const [seconds, setSeconds] = useState(age);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `age` depends on `at` alone.
  useEffect(() => {
    setSeconds(age());
    const timer = window.setInterval(() => setSeconds(age()), 5_000);
    return () => window.clearInterval(timer);
  }, [at]);
  if (seconds < STALE_S) return <span>{t('balance.asOf', { time: clock(at) })}</span>;
  return (
    <Text span inherit className="aged">
      {t('balance.asOfOld', { time: clock(at), seconds: count(seconds) })}
    </Text>
  );
}
