"""Texts in many languages with the encodings in which they are commonly found."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

_TONES = "\u0300\u0301\u0303\u0309\u0323"


class Sample(NamedTuple):
    """Texts of one language: a sentence, a paragraph, and the usual encodings of both."""

    language: str
    encodings: tuple[str, ...]
    sentence: str
    paragraph: str


SAMPLES = (
    Sample(
        "cs",
        ("iso8859_2", "cp1250", "cp852"),
        "Účetní závěrka musí být předložena do konce března příštího roku.",
        "Vážený zákazníku, děkujeme za Vaši objednávku. Zboží odešleme nejpozději ve čtvrtek ráno.\n"
        "Při převzetí prosím zkontrolujte, zda balík není poškozený; řidič s Vámi sepíše protokol.\n"
        "Šéf skladu Jiří Kovář je k dispozici každý všední den. Těšíme se na další spolupráci.\n",
    ),
    Sample(
        "pl",
        ("iso8859_2", "cp1250", "cp852"),
        "Proszę o przesłanie zaświadczenia o dochodach za ubiegły miesiąc.",
        "Szanowni Państwo, w załączeniu przesyłam sprawozdanie z działalności spółki za rok ubiegły.\n"
        "Źródłem największych kosztów były części zamienne do urządzeń oraz wynajem żurawia.\n"
        "Księgowość prosi o uzupełnienie brakujących faktur. Łączę wyrazy szacunku, Józef Świątek\n",
    ),
    Sample(
        "hu",
        ("iso8859_2", "cp1250", "cp852"),
        "A készülék bekapcsolása előtt győződjön meg a megfelelő hűtésről.",
        "Tisztelt Ügyfelünk! Örömmel értesítjük, hogy rendelését a mai napon átadtuk a futárnak.\n"
        "A küldemény várhatóan csütörtökön érkezik meg, délelőtt tíz és tizenkettő között.\n"
        "Kérdés esetén hívja ügyfélszolgálatunkat. Üdvözlettel: Szűcs Győző, értékesítési vezető\n",
    ),
    Sample(
        "ro",
        ("iso8859_2", "cp1250"),
        "Vă rugăm să trimiteţi documentele necesare până la sfârşitul lunii.",
        "Stimate client, vă mulţumim pentru comanda dumneavoastră. Coletul a fost predat curierului\n"
        "şi va ajunge în cel mult trei zile lucrătoare. Dacă aveţi întrebări, sunaţi la număr.\n"
        "În numele societăţii vă dorim o zi frumoasă şi vă aşteptăm şi în magazinul din Braşov.\n",
    ),
    Sample(
        "hr",
        ("iso8859_2", "cp1250", "cp852"),
        "Molimo vas da što prije pošaljete ispunjeni obrazac našoj službi.",
        "Poštovani, račun za ožujak još uvijek nije plaćen. Molimo da ga podmirite u roku od tjedan\n"
        "dana, inače ćemo biti prisiljeni obračunati zatezne kamate. Uređaj će uključiti tehničar,\n"
        "koji dolazi u četvrtak. Za sva pitanja obratite se gospodinu Đuri Žigiću. Srdačan pozdrav\n",
    ),
    Sample(
        "de",
        ("iso8859_1", "iso8859_15", "cp1252", "cp850", "cp437"),
        "Die Prüfung der Pumpe muß vor dem Öffnen des Ventils erfolgen.",
        "Sehr geehrte Damen und Herren, für die Überprüfung der Anlage benötigen wir den Schlüssel.\n"
        "Größere Mängel wurden nicht festgestellt, jedoch müssen die Schläuche ausgetauscht werden.\n"
        "Bitte schicken Sie uns die ausgefüllten Fragebögen zurück. Mit freundlichen Grüßen, J. Höß\n",
    ),
    Sample(
        "de-euro",
        ("iso8859_15", "cp1252"),
        "Das Gerät kostet 25 € und ist für Haushalte geeignet.",
        "Die Gebühr beträgt 120 €, für Schüler 60 €. Überweisen Sie den Betrag bitte bis März.\n"
        "Bei späterer Zahlung erhöht sich die Gebühr um 15 €. Es gibt keine Rückerstattung für\n"
        "Kurse, die begonnen haben. Ermäßigungen gewähren wir nur nach vorheriger Prüfung.\n",
    ),
    Sample(
        "fr",
        ("iso8859_1", "iso8859_15", "cp1252", "cp850", "cp437", "mac_roman"),
        "L'appareil doit être vérifié par un électricien après le démontage.",
        "Madame, Monsieur, nous vous remercions de l'intérêt que vous portez à notre société.\n"
        "Les pièces détachées seront expédiées dès réception de votre règlement. En cas de problème,\n"
        "n'hésitez pas à contacter le siège à Besançon. Veuillez agréer nos salutations distinguées.\n",
    ),
    Sample(
        "fr-euro",
        ("iso8859_15", "cp1252"),
        "Le prix du repas est de 18 € et le café coûte 2 €.",
        "Le cœur de la ville a été rénové pour 45 000 €. La main-d'œuvre représente près de la\n"
        "moitié des dépenses, soit 22 000 €. Les travaux dureront jusqu'à l'été, d'après la mairie,\n"
        "et les sœurs de l'hôpital ont déjà déménagé. Une taxe de 3 € sera perçue à l'entrée.\n",
    ),
    Sample(
        "es",
        ("iso8859_1", "iso8859_15", "cp1252", "cp850"),
        "El señor Muñoz pidió una revisión del motor para mañana.",
        "Estimado cliente: su pedido salió ayer del almacén y llegará en tres días hábiles.\n"
        "¿Tiene alguna pregunta? Llámenos al teléfono de atención. El técnico pasará por la mañana\n"
        "para instalar la lavadora; después recibirá la garantía por correo. ¡Muchas gracias, señora!\n",
    ),
    Sample(
        "ru",
        ("cp1251", "koi8_r", "cp866", "iso8859_5"),
        "Перед включением насоса проверьте уровень масла в баке.",
        "Уважаемые коллеги! Совещание по итогам квартала состоится в четверг в десять часов утра.\n"
        "Просим подготовить отчёты о расходах и списки оборудования, которое подлежит замене.\n"
        "Если вы не сможете присутствовать, сообщите об этом секретарю до среды. Спасибо.\n",
    ),
    Sample(
        "uk",
        ("cp1251", "koi8_u", "iso8859_5", "cp1125"),
        "Перед увімкненням насоса перевірте рівень мастила в баку.",
        "Шановні колеги! Нарада за підсумками кварталу відбудеться у четвер о десятій годині ранку.\n"
        "Просимо підготувати звіти про витрати та переліки обладнання, яке підлягає заміні.\n"
        "Якщо ви не зможете бути присутні, повідомте про це секретаря до середи. Дякуємо.\n",
    ),
    Sample(
        "bg",
        ("cp1251", "iso8859_5", "cp866"),
        "Преди включване на помпата проверете нивото на маслото.",
        "Уважаеми колеги, съвещанието за резултатите от тримесечието ще се проведе в четвъртък.\n"
        "Молим ви да подготвите отчетите за разходите и списък на оборудването за подмяна.\n"
        "Ако не можете да присъствате, моля уведомете секретаря до сряда. Благодарим ви.\n",
    ),
    Sample(
        "lt",
        ("iso8859_13", "cp1257"),
        "Prašome atsiųsti užpildytą anketą iki šios savaitės pabaigos.",
        "Gerbiamas kliente, dėkojame už Jūsų užsakymą. Prekes išsiųsime ne vėliau kaip ketvirtadienį.\n"
        "Gavę siuntą patikrinkite, ar pakuotė nepažeista; jei yra pažeidimų, kvieskite vairuotoją.\n"
        "Sąskaitą apmokėkite per dešimt dienų. Jūsų klausimų laukia skyriaus viršininkė Žydrūnė.\n",
    ),
    Sample(
        "lv",
        ("iso8859_13", "cp1257"),
        "Lūdzam nosūtīt aizpildītu veidlapu līdz šīs nedēļas beigām.",
        "Cienījamais klient, paldies par jūsu pasūtījumu. Preces nosūtīsim ne vēlāk kā ceturtdien.\n"
        "Saņemot sūtījumu, pārbaudiet, vai iepakojums nav bojāts; ja ir bojājumi, zvaniet mums.\n"
        "Rēķins jāapmaksā desmit dienu laikā. Ar cieņu nodaļas vadītāja Žanete Ķeņģe, Rīga.\n",
    ),
    Sample(
        "et",
        ("iso8859_15", "cp1257"),
        "Palun saatke täidetud küsimustik meile enne nädala lõppu.",
        "Lugupeetud klient, täname teid tellimuse eest. Kaup jõuab teieni hiljemalt neljapäeval.\n"
        "Kontrollige pakendit kättesaamisel; kui see on rikutud, võtke ühendust meie bürooga.\n"
        "Arve tuleb tasuda kümne päeva jooksul. Küsimuste korral helistage meile tööpäeviti.\n",
    ),
    Sample(
        "el",
        ("iso8859_7", "cp1253"),
        "Πριν από την εκκίνηση ελέγξτε τη στάθμη του λαδιού.",
        "Αγαπητοί συνεργάτες, η συνεδρίαση για τα αποτελέσματα του τριμήνου θα γίνει την Πέμπτη.\n"
        "Παρακαλούμε να ετοιμάσετε τις αναφορές εξόδων και τον κατάλογο του εξοπλισμού.\n"
        "Αν δεν μπορείτε να παραστείτε, ενημερώστε τη γραμματεία έως την Τετάρτη. Άννα\n",
    ),
    Sample(
        "he",
        ("iso8859_8", "cp1255"),
        "לפני הפעלת המשאבה יש לבדוק את מפלס השמן במיכל.",
        "לקוחות יקרים, תודה רבה על ההזמנה. המשלוח יגיע אליכם עד יום חמישי בשעות הבוקר.\n"
        "נא לבדוק את האריזה בעת הקבלה ולהודיע לנו מיד אם נגרם נזק במהלך ההובלה.\n"
        "את החשבונית יש לשלם בתוך עשרה ימים. לשאלות נוספות ניתן לפנות למשרד.\n",
    ),
    Sample(
        "ar",
        ("iso8859_6", "cp1256"),
        "يرجى التحقق من مستوى الزيت قبل تشغيل المضخة.",
        "عملاؤنا الكرام، شكرا لكم على طلبكم. سوف تصل الشحنة إليكم يوم الخميس صباحا.\n"
        "يرجى فحص العبوة عند الاستلام وإبلاغنا فورا إذا حدث أي ضرر أثناء النقل.\n"
        "يجب دفع الفاتورة خلال عشرة أيام. لمزيد من الأسئلة يمكنكم الاتصال بالمكتب.\n",
    ),
    Sample(
        "tr",
        ("iso8859_9", "cp1254"),
        "Pompayı çalıştırmadan önce yağ seviyesini kontrol ediniz.",
        "Değerli müşterimiz, siparişiniz için teşekkür ederiz. Ürünler en geç perşembe günü gelecek.\n"
        "Teslim alırken paketin hasarlı olup olmadığını kontrol ediniz; şüphe varsa şoföre söyleyin.\n"
        "Faturanızı on gün içinde ödeyiniz. Sorularınız için büromuza başvurabilirsiniz. Işık Yıldız\n",
    ),
    Sample(
        "ja",
        ("shift_jis", "euc_jp", "iso2022_jp"),
        "ポンプを起動する前に、油の量を確認してください。",
        "お客様各位、このたびはご注文いただきありがとうございます。商品は木曜日までに届きます。\n"
        "お受け取りの際に箱の破損がないかご確認ください。問題があればすぐにご連絡ください。\n"
        "請求書は十日以内にお支払いください。ご質問は営業部の田中までお願いいたします。\n",
    ),
    Sample(
        "zh-CN",
        ("gb2312", "gbk", "gb18030"),
        "启动水泵之前,请先检查油箱里的油位是否正常。",
        "尊敬的客户:感谢您的订购。货物最迟将于星期四上午送达。收货时请检查包装是否完好,\n"
        "如有损坏请立即与我们联系。发票应在十天内付款。如有疑问,请拨打客服电话咨询。\n"
        "本公司保留对合同条款的最终解释权,祝您工作顺利,生活愉快。\n",
    ),
    Sample(
        "zh-TW",
        ("big5",),
        "啟動水泵之前,請先檢查油箱裡的油位是否正常。",
        "尊敬的客戶:感謝您的訂購。貨物最遲將於星期四上午送達。收貨時請檢查包裝是否完好,\n"
        "如有損壞請立即與我們聯繫。發票應在十天內付款。如有疑問,請撥打客服電話諮詢。\n"
        "本公司保留對合約條款的最終解釋權,祝您工作順利,生活愉快。\n",
    ),
    Sample(
        "ko",
        ("euc_kr", "cp949"),
        "펌프를 작동하기 전에 기름의 양을 확인하십시오.",
        "고객님께, 주문해 주셔서 감사합니다. 상품은 늦어도 목요일 오전까지 도착할 예정입니다.\n"
        "물건을 받으실 때 상자가 파손되었는지 확인해 주시고, 문제가 있으면 바로 연락해 주십시오.\n"
        "청구서는 열흘 안에 지불해 주시기 바랍니다. 궁금한 점은 사무실로 문의해 주십시오.\n",
    ),
    Sample(
        "th",
        ("tis_620", "cp874"),
        "โปรดตรวจสอบระดับน้ำมันก่อนเปิดเครื่องสูบน้ำ",
        "เรียนลูกค้าทุกท่าน ขอขอบคุณสำหรับการสั่งซื้อ สินค้าจะถึงท่านภายในวันพฤหัสบดี\n"
        "กรุณาตรวจสอบกล่องเมื่อได้รับสินค้า หากมีความเสียหายโปรดติดต่อเราทันที\n"
        "กรุณาชำระเงินภายในสิบวัน หากมีคำถามสามารถติดต่อสำนักงานได้ทุกวัน\n",
    ),
    Sample(
        "vi",
        ("cp1258",),
        "Xin kiểm tra mức dầu trước khi khởi động máy bơm.",
        "Kính gửi quý khách, cảm ơn quý khách đã đặt hàng. Hàng sẽ được giao trước thứ năm.\n"
        "Khi nhận hàng xin kiểm tra bao bì; nếu có hư hỏng xin liên hệ ngay với chúng tôi.\n"
        "Hóa đơn cần được thanh toán trong mười ngày. Mọi thắc mắc xin gọi đến văn phòng.\n",
    ),
)
UNICODE_ENCODINGS = (
    *("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be", "utf-32"),
)


def encode_text(text: str, encoding: str) -> bytes:
    """Return `text` in `encoding`; Vietnamese in cp1258 has its tone marks as characters."""
    return (decompose_tones(text) if encoding == "cp1258" else text).encode(encoding)


def decompose_tones(text: str) -> str:
    """Return `text` with each Vietnamese tone mark after its letter, as cp1258 has them."""
    pieces: list[str] = []
    for character in text:
        parts = unicodedata.normalize("NFD", character)
        tones = "".join(part for part in parts if part in _TONES)
        letter = "".join(part for part in parts if part not in _TONES)
        pieces.append(unicodedata.normalize("NFC", letter) + tones)
    return "".join(pieces)
